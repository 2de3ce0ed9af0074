package selfservice

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/posture"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/prove"
	"countersign/internal/store"
)

const (
	// newSignInsFor is how long a sign-in from a new browser is worth a look.
	newSignInsFor = 7 * 24 * time.Hour
	// signInsLooked is how many sign-ins are looked through for one.
	signInsLooked = 50
)

// Checkup returns what somebody should look at, the most important first. o is
// their overview.
func (f *Flow) Checkup(ctx context.Context, s prove.Signed, o Overview) ([]posture.Item, error) {
	events, err := f.DB.Read(ctx).History(s.Identity.Account, s.Identity.ID, 0, signInsLooked, audit.ConsoleSignin)
	if err != nil {
		return nil, err
	}
	own := posture.Own{Facts: o.Facts, CodesMadeAt: o.CodesMadeAt, CodesUnsaved: o.CodesUnseen, CheckDue: !s.Identity.CheckDue.IsZero(),
		OnlyHere:   o.OnlyHere(),
		Copied:     slices.ContainsFunc(o.Passkeys, func(p store.Passkey) bool { return !p.CopiedAt.IsZero() }),
		NewSignIns: newSignIns(s.Session, o.Identity.PasswordChangedAt, events, f.DB.Now())}
	return posture.Checkup(own), nil
}

// OnlyHere reports whether everything hangs on one piece that can be lost.
func (o Overview) OnlyHere() bool {
	return len(o.Passkeys) == 1 && !o.Passkeys[0].IsU2F() && !o.Passkeys[0].BackupEligible && !o.Facts.VirtualMFA && !o.Facts.Phone
}

// newSignIns counts the sign-ins of the last days from browsers that were not
// known, newest first: not this browser, and not the first one that there ever
// was. A new password answers them.
func newSignIns(here session.Session, changed time.Time, events []audit.Event, now time.Time) (n int) {
	events = slices.DeleteFunc(events, func(e audit.Event) bool { return e.Refused != "" })
	for at, e := range events {
		first := at == len(events)-1
		unknown := slices.Contains(strings.Fields(e.Details["unusual"]), "device")
		if unknown && !first && !sameBrowser(here, e) && e.At.After(now.Add(-newSignInsFor)) && e.At.After(changed) {
			n++
		}
	}
	return n
}

// sameBrowser reports whether an event seems to be of the browser of a session.
func sameBrowser(s session.Session, e audit.Event) bool {
	if e.Target == s.ID {
		return true
	}
	here, err := netip.ParseAddr(s.Address)
	there, err2 := netip.ParseAddr(e.Actor.Address)
	return err == nil && err2 == nil && e.Actor.UserAgent == s.UserAgent && throttle.Network(here) == throttle.Network(there)
}
