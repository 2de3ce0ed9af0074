package prove

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/store"
)

// spend takes one try of the ceremony; none where there is no ceremony.
func spend(tx *store.Tx, ceremonyID string) (refusal, err error) {
	if ceremonyID == "" {
		return nil, nil
	}
	err = tx.SpendTry(ceremonyID, ceremony.ErrNoTries)
	if !errors.Is(err, ceremony.ErrNoTries) {
		return nil, err
	}
	has, err := tx.HasCeremony(ceremonyID)
	if err != nil {
		return nil, err
	}
	if !has { // another tab was first: nothing was wrong
		return ceremony.ErrGone, nil
	}
	return ceremony.ErrNoTries, nil
}

// An Answer is what someone offers as proof.
type Answer struct {
	Method factor.Method
	Codes  []string // as typed; two or three in a row where the price asks for them

	// Resynchronise takes exactly two codes in a row from anywhere within ten
	// steps, whatever the price: they are at least as hard to guess.
	Resynchronise bool
	// Credential is the AuthenticationResponseJSON of a key that signs.
	Credential []byte

	// Remember asks that the browser be not asked again for a while. Only a
	// sign-in looks at it.
	Remember bool

	// New says that the code was sent to an address that is to be confirmed:
	// whoever mistypes it is signed in, and no alarm.
	New bool
}

// parse takes the codes as typed.
func (a Answer) parse() ([]string, error) {
	codes := make([]string, 0, len(a.Codes))
	for n, typed := range a.Codes {
		if n > 0 && factor.NormalCode(typed) == "" {
			break
		}
		code, err := factor.ParseCode(typed)
		if err != nil {
			if n > 0 {
				return nil, fault.From(err).On(fmt.Sprintf("code%d", n+1))
			}
			return nil, err
		}
		codes = append(codes, code)
	}
	return codes, nil
}

// Check checks an answer that belongs to a ceremony (empty id: to none). When
// it is right it is used up, and then runs in the same write. The refusal of a
// wrong one is returned after it has been remembered under event.
func (p *Prover) Check(ctx context.Context, v Visitor, actor audit.Actor, i account.Identity, ceremonyID string, answer Answer, event audit.Event, then func(tx *store.Tx, proof factor.Proof) error) error {
	if answer.Method == factor.Password {
		return p.checkPassword(ctx, v, i, ceremonyID, first(answer.Codes), event, then)
	}
	check, a, err := p.prepare(ctx, v, i, ceremonyID, answer)
	if err != nil {
		return err
	}
	var refusal error
	err = p.DB.Write(ctx, actor, func(tx *store.Tx) error {
		refusal = check(tx)
		var f *fault.Fault
		if refusal != nil && (!errors.As(refusal, &f) || f.Kind == fault.Unavailable) {
			return refusal // ours, not the visitor's
		}
		if answer.Method.Guessable() {
			if err := p.settle(tx, v, i, a, refusal == nil); err != nil {
				return err
			}
		}
		if refusal == nil {
			proof := factor.Proof{Method: answer.Method, At: tx.Now}
			if a.proof != nil {
				proof = *a.proof
			}
			return then(tx, proof)
		}
		event.Account, event.Identity, event.Refused = i.Account, i.ID, f.Code
		event.Details = map[string]string{"method": string(answer.Method)}
		if why := passkey.Why(refusal); why != "" {
			event.Details["why"] = why
		}
		return tx.Record(event)
	})
	if err == nil {
		err = refusal
	}
	return err
}

// prepare parses the answer, charges for it, and returns its check.
func (p *Prover) prepare(ctx context.Context, v Visitor, i account.Identity, ceremonyID string, answer Answer) (check func(*store.Tx) error, a attempt, err error) {
	switch answer.Method {
	case factor.Passkey, factor.U2F:
		return p.prepareKey(ctx, v, i, ceremonyID, answer)

	case factor.VirtualMFA:
		codes, err := answer.parse()
		if err != nil {
			return nil, a, err
		}
		if answer.Resynchronise && len(codes) != 2 {
			return nil, a, factor.ErrSecondMissing
		}
		a, err = p.chargeCode(ctx, v, i, ceremonyID, answer.Method, func(_ *store.Tx, price int) error {
			if len(codes) < price && !answer.Resynchronise {
				return factor.ErrMoreCodesAsked.With("Count", price)
			}
			return nil
		})
		return func(tx *store.Tx) error {
			if answer.Resynchronise {
				return checkVirtualMFA(tx, i, codes, true)
			}
			err := checkVirtualMFA(tx, i, codes, a.price == 1 && len(codes) == 2)
			if len(codes) > 1 && fault.From(err).Kind == fault.Unproven {
				return factor.ErrCodesWrong // which of them would be told to whoever guesses
			}
			return err
		}, a, err

	case factor.Email, factor.SMS:
		code := factor.NormalCode(first(answer.Codes))
		if code == "" {
			return nil, a, factor.ErrCodeMissing
		}
		a, err = p.chargeCode(ctx, v, i, ceremonyID, answer.Method, func(tx *store.Tx, price int) error {
			return longEnough(tx, ceremonyID, answer.Method, code, throttle.DigitsAt(price))
		})
		a.confirming = answer.New || answer.Method == factor.Email && i.IsOwner()
		return func(tx *store.Tx) error {
			if err := checkSentCode(tx, ceremonyID, answer.Method, code); err != nil {
				return err
			}
			switch {
			case answer.Method == factor.SMS:
				return tx.UsePhone(i.Account, i.ID)
			case !answer.New && !i.IsOwner():
				return tx.UseSecurityEmail(i.Account, i.ID)
			}
			return nil
		}, a, err

	case factor.RecoveryCode, factor.Ticket:
		code, err := factor.ParseRecoveryCode(first(answer.Codes))
		if answer.Method == factor.Ticket && errors.Is(err, factor.ErrRecoveryForm) {
			err = ErrTicketWrong
		}
		if err != nil {
			return nil, a, err
		}
		err = p.DB.Charge(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
			refusal, err := spend(tx, ceremonyID) // cannot be guessed; bounded against load
			return errors.Join(err, refusal)
		})
		return func(tx *store.Tx) error {
			if answer.Method == factor.Ticket {
				return checkTicket(tx, i, code)
			}
			return tx.UseRecoveryCode(i.Account, i.ID, RecoveryHash(i, code), factor.ErrRecoveryWrong)
		}, a, err
	}
	return nil, a, fmt.Errorf("prove: no check for method %q", answer.Method)
}

func first(codes []string) string {
	if len(codes) == 0 {
		return ""
	}
	return codes[0]
}

// checkTicket accepts the open ticket of re-enrolment or recovery. It is used
// up when what it is for is done: whoever is interrupted need not ask again.
func checkTicket(tx *store.Tx, i account.Identity, code string) error {
	open, err := tx.TicketOpen(i.Account, i.ID, RecoveryHash(i, code), tx.Now)
	if err == nil && !open {
		err = ErrTicketWrong
	}
	return err
}

// RecoveryHash is what the store keeps of a recovery code: 68 random bits,
// hashed with the identity they belong to.
func RecoveryHash(i account.Identity, code string) []byte {
	h := sha256.Sum256([]byte(string(i.ID) + "\x00" + code))
	return h[:]
}

// checkVirtualMFA accepts codes of the bound device and uses their steps up.
// A pair may lie anywhere within ten steps: it shows where the clock of the
// device has drifted to.
func checkVirtualMFA(tx *store.Tx, i account.Identity, codes []string, pair bool) error {
	d, err := tx.Peek().VirtualMFA(i.Account, i.ID) // the step decides who was first
	if errors.Is(err, store.ErrNoRow) {
		return factor.ErrCodeWrong
	}
	if err != nil {
		return err
	}
	step, drift := int64(0), d.Drift
	if pair {
		step, drift, err = d.VerifyPair(codes[0], codes[1], tx.Now)
	} else {
		step, err = d.Verify(codes, tx.Now)
	}
	if err != nil {
		return err
	}
	return tx.AcceptStep(i.Account, i.ID, d.ID, step, drift)
}

// longEnough refuses a code that was sent before the price rose.
func longEnough(tx *store.Tx, ceremonyID string, m factor.Method, code string, digits int) error {
	if len(code) >= digits {
		return nil
	}
	sent, err := tx.SentCodes(ceremonyID, m)
	if err != nil {
		return err
	}
	for _, c := range sent {
		if c.Digits >= digits { // the longer one is on its way: this is a wrong form of it
			return factor.ErrCodeForm.With("Digits", digits)
		}
	}
	return ceremony.ErrLongerAsked
}

func checkSentCode(tx *store.Tx, ceremonyID string, m factor.Method, code string) error {
	sent, err := tx.SentCodes(ceremonyID, m)
	if err != nil {
		return err
	}
	if len(sent) == 0 {
		return ceremony.ErrNotSent
	}
	expired := false
	matched := false
	for _, c := range sent {
		is, err := tx.CodeIs(c, code)
		if err != nil {
			return err
		}
		live := tx.Now.Before(c.ExpiresAt)
		matched = matched || (is && live)
		expired = expired || (is && !live)
	}
	switch {
	case matched:
		return tx.UseSentCodes(ceremonyID, ceremony.ErrNotSent)
	case expired:
		return ceremony.ErrCodeExpired
	}
	return ceremony.ErrSentWrong
}

// CheckSent checks a code of a ceremony that belongs to no identity yet.
func (p *Prover) CheckSent(ctx context.Context, v Visitor, ceremonyID, typed string, then func(tx *store.Tx) error) error {
	code := factor.NormalCode(typed)
	if code == "" {
		return factor.ErrCodeMissing
	}
	network := "codes:" + throttle.Network(v.Address).String()
	var refusal error
	err := p.DB.Charge(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		ok, wait, err := tx.Count(network, throttle.SourceTries, throttle.SourceWindow)
		if err != nil {
			return err
		}
		if refusal = nil; !ok {
			refusal = ErrTooManyCodes.After(wait)
			return nil
		}
		refusal, err = spend(tx, ceremonyID)
		return err
	})
	if err = errors.Join(err, refusal); err != nil {
		return err
	}
	err = p.DB.Write(ctx, v.Actor(), func(tx *store.Tx) error {
		refusal = checkSentCode(tx, ceremonyID, factor.Email, code)
		var f *fault.Fault
		if refusal != nil && (!errors.As(refusal, &f) || f.Kind == fault.Unavailable) {
			return refusal // ours, not the visitor's
		}
		if refusal == nil {
			if err := tx.Uncount(network); err != nil {
				return err
			}
			return then(tx)
		}
		return tx.Record(audit.Event{Name: audit.EmailConfirm, Refused: f.Code})
	})
	if err == nil {
		err = refusal
	}
	return err
}
