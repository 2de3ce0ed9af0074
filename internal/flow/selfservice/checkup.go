package selfservice

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
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
	unknown, err := f.NewSignIns(ctx, s)
	if err != nil {
		return nil, err
	}
	own := posture.Own{Facts: o.Facts, CodesMadeAt: o.CodesMadeAt, CodesUnsaved: o.CodesUnseen, CheckDue: !s.Identity.CheckDue.IsZero(),
		OnlyHere:   o.OnlyHere(),
		Copied:     slices.ContainsFunc(o.Passkeys, func(p store.Passkey) bool { return !p.CopiedAt.IsZero() }),
		NewSignIns: len(unknown)}
	return posture.Checkup(own), nil
}

// OnlyHere reports whether everything hangs on one piece that can be lost.
func (o Overview) OnlyHere() bool {
	return len(o.Passkeys) == 1 && !o.Passkeys[0].IsU2F() && !o.Passkeys[0].BackupEligible && !o.Facts.VirtualMFA && !o.Facts.Phone
}

// newSignIns are the sign-ins of the last days from browsers that were not
// known, newest first: not this browser, and not the first one that there ever
// was. A new password answers them, and so does their user's word.
func newSignIns(r *store.Reader, s prove.Signed, now time.Time) (list []audit.Event, err error) {
	a, i := s.Identity.Account, s.Identity.ID
	events, err := r.History(a, i, 0, signInsLooked, audit.ConsoleSignin)
	if err != nil {
		return nil, err
	}
	answers, err := r.History(a, i, 0, signInsLooked, audit.SigninConfirm)
	if err != nil {
		return nil, err
	}
	confirmed := map[string]bool{}
	for _, e := range answers {
		confirmed[e.Target] = true
	}
	events = slices.DeleteFunc(events, func(e audit.Event) bool { return e.Refused != "" })
	for at, e := range events {
		first := at == len(events)-1
		unknown := slices.Contains(strings.Fields(e.Details["unusual"]), "device")
		if unknown && !first && !sameBrowser(s.Session, e) && e.At.After(now.Add(-newSignInsFor)) && e.At.After(s.Identity.PasswordChangedAt) && !confirmed[numbered(e)] {
			list = append(list, e)
		}
	}
	return list, nil
}

// numbered is how the word that an event was theirs names it.
func numbered(e audit.Event) string { return strconv.FormatInt(e.Seq, 10) }

// NewSignIns are those that somebody has yet to answer for, by number.
func (f *Flow) NewSignIns(ctx context.Context, s prove.Signed) (map[int64]bool, error) {
	list, err := newSignIns(f.DB.Read(ctx), s, f.DB.Now())
	numbers := map[int64]bool{}
	for _, e := range list {
		numbers[e.Seq] = true
	}
	return numbers, err
}

// ConfirmSignIn takes the word of the identity that a new sign-in was its own,
// in another browser than that of the sign-in: there it says nothing. What is
// answered for, or too old to ask, is left as it is.
func (f *Flow) ConfirmSignIn(ctx context.Context, v prove.Visitor, s prove.Signed, seq int64) error {
	err := f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		i, err := tx.Identity(s.Identity.ID) // locked: one answer is recorded
		if err != nil {
			return err
		}
		if i.Epoch != s.Session.Epoch {
			return session.ErrSignedOut
		}
		list, err := newSignIns(&tx.Reader, prove.Signed{Identity: i, Session: s.Session}, tx.Now)
		if err != nil {
			return err
		}
		n := slices.IndexFunc(list, func(e audit.Event) bool { return e.Seq == seq })
		if n < 0 {
			return store.ErrNoRow
		}
		return tx.Record(audit.Event{Account: i.Account, Name: audit.SigninConfirm, Identity: i.ID, Target: numbered(list[n])})
	})
	_, err = store.HasRow(err)
	return err
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
