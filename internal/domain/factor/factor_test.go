package factor_test

import (
	"encoding/json"
	"testing"
	"time"

	"countersign/internal/domain/factor"
)

func TestTheMethodsAreWhatTheProductSaysOfThem(t *testing.T) {
	t.Parallel()
	for m, c := range map[factor.Method]struct {
		strength               int
		guessable, sent, signs bool
	}{
		"":                  {0, false, false, false},
		"telepathy":         {0, false, false, false},
		factor.Password:     {1, false, false, false}, // which has counters of its own
		factor.Email:        {2, true, true, false},
		factor.SMS:          {3, true, true, false},
		factor.VirtualMFA:   {4, true, false, false},
		factor.Passkey:      {5, false, false, true},
		factor.U2F:          {5, false, false, true},
		factor.RecoveryCode: {5, false, false, false}, // stands in for any device
		factor.Ticket:       {5, false, false, false},
	} {
		if m.Strength() != c.strength || m.Guessable() != c.guessable || m.Sent() != c.sent || m.Signs() != c.signs {
			t.Errorf("%q: strength %d, guessable %v, sent %v, signs %v", m, m.Strength(), m.Guessable(), m.Sent(), m.Signs())
		}
	}
}

// Proofs are kept with sessions and ceremonies: those from before there were
// passkeys are read, and stay as they are.
func TestProofsSurviveTheirJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	for text, want := range map[string]factor.Proof{
		`{"method":"password","at":"2026-03-02T09:30:00Z"}`:                              {Method: factor.Password, At: at},
		`{"method":"u2f","at":"2026-03-02T09:30:00Z"}`:                                   {Method: factor.U2F, At: at},
		`{"method":"passkey","at":"2026-03-02T09:30:00Z","verified":true}`:               {Method: factor.Passkey, At: at, Verified: true},
		`{"method":"passkey","at":"2026-03-02T09:30:00Z","verified":true,"synced":true}`: {Method: factor.Passkey, At: at, Verified: true, Synced: true},
	} {
		var p factor.Proof
		if err := json.Unmarshal([]byte(text), &p); err != nil || p != want {
			t.Errorf("%s: %+v (%v)", text, p, err)
		}
		if back, err := json.Marshal(want); err != nil || string(back) != text {
			t.Errorf("%s (%v), want %s", back, err, text)
		}
	}
}
