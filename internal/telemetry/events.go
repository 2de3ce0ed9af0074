package telemetry

import (
	"slices"
	"strings"
	"sync"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/prove"
)

// most bounds the values of a label that are codes of ours: about as many as
// there are. What comes beyond is a mistake of ours that must not cost memory.
const most = 300

// A known is a set of label values that stays small.
type known struct {
	mu   sync.Mutex
	seen map[string]bool
}

// label is the value itself, or "other" where there are too many.
func (k *known) label(value string) string {
	if len(value) > 60 || strings.ContainsFunc(value, strange) {
		return "other"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen == nil {
		k.seen = map[string]bool{}
	}
	if !k.seen[value] && len(k.seen) >= most {
		return "other"
	}
	k.seen[value] = true
	return value
}

// strange reports whether r is in no name and no code of ours.
func strange(r rune) bool {
	return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.'
}

// watchedEvents are those that alerts look at: there from the start.
var watchedEvents = []audit.Name{audit.CodeBudgetEmpty, audit.SendAlarm, audit.PasswordLock, audit.DeviceReplay, audit.RememberedReplay, audit.PasskeyCounter, audit.NotMe, audit.RecoveryStart}

func (m *Metrics) watched() {
	for _, name := range watchedEvents {
		m.events.WithLabelValues(m.names.label(string(name)), "done")
	}
}

// Recorded counts an event that is committed: it is a store.Config's.
func (m *Metrics) Recorded(e audit.Event) {
	done := "done"
	if e.Refused != "" {
		done = "refused"
	}
	m.events.WithLabelValues(m.names.label(string(e.Name)), done).Inc()
	result, method := ok, e.Details["method"]
	if e.Refused != "" {
		result = m.reasons.label(e.Refused)
	}
	switch e.Name {
	case audit.ConsoleSignin:
		m.signedIn(e, method, result)
	case audit.PasswordAccepted:
		m.proofs.WithLabelValues("sign_in", string(factor.Password), ok).Inc()
	case audit.IdentityVerify:
		m.proved(purpose(e.Target), method, result, e)
	case audit.PasswordReset:
		if e.Refused != "" {
			m.proved("reset", method, result, e)
		}
	case audit.MFABind, audit.UserMFABind:
		m.bindings.WithLabelValues(string(factor.VirtualMFA), result).Inc()
	case audit.MobileBind:
		m.bindings.WithLabelValues(string(factor.SMS), result).Inc()
	case audit.SecurityEmailBind:
		m.bindings.WithLabelValues(string(factor.Email), result).Inc()
	case audit.PasskeyCreate, audit.U2FUpgrade:
		m.bindings.WithLabelValues(string(factor.Passkey), result).Inc()
		m.passkeys.WithLabelValues("create", m.why(e, result)).Inc()
	}
}

// signedIn counts a sign-in that ended, well or not, and the proof that ended it.
func (m *Metrics) signedIn(e audit.Event, method, result string) {
	if method == "" && e.Refused == prove.ErrCredentials.Code {
		method = string(factor.Password)
	}
	m.signIns.WithLabelValues(result, methodLabel(method)).Inc()
	if e.Refused == "" && e.Details["remembered"] != "" {
		m.spared.Inc()
	}
	if method != "" {
		m.proved("sign_in", method, result, e)
	}
}

// proved counts a proof that was offered.
func (m *Metrics) proved(purpose, method, result string, e audit.Event) {
	m.proofs.WithLabelValues(purpose, methodLabel(method), result).Inc()
	if !factor.Method(method).Signs() {
		return
	}
	ceremony := "prove"
	if e.Details["alone"] != "" || e.Details["amr"] != "" && !slices.Contains(strings.Fields(e.Details["amr"]), "pwd") {
		ceremony = "alone"
	}
	m.passkeys.WithLabelValues(ceremony, m.why(e, result)).Inc()
}

// why is what was wrong with the answer of a passkey, more exactly than the
// refusal that people see says.
func (m *Metrics) why(e audit.Event, result string) string {
	if why := e.Details["why"]; e.Refused != "" && why != "" {
		return m.reasons.label(why)
	}
	return result
}

// purpose is what a proof was for, of the target of its event.
func purpose(target string) string {
	switch target {
	case string(policy.SignInScenario):
		return "sign_in"
	case "reset-password":
		return "reset"
	}
	return "verification"
}
