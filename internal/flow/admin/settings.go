package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/fault"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// Faults about settings that would be saved.
var (
	ErrNoSecondKind = fault.New(fault.Invalid, "settings.no_second_kind").On("two_kinds")
	ErrNothingNew   = fault.New(fault.Conflict, "settings.unchanged")
)

// savesPerDay is far beyond what anybody does: the count serves as a lock.
const savesPerDay = 1 << 20

// normal is the one form of settings that mean the same.
func normal(s account.Settings) account.Settings {
	if len(s.Masks) == 0 {
		s.Masks = nil
	}
	if len(s.PasskeyModels) == 0 {
		s.PasskeyModels = nil
	}
	s.GraceUntil = s.GraceUntil.UTC()
	return s
}

// Settings returns those of the account.
func (f *Flow) Settings(ctx context.Context, s prove.Signed) (account.Settings, error) {
	if err := reads(s); err != nil {
		return account.Settings{}, err
	}
	return f.DB.Read(ctx).Settings(s.Identity.Account)
}

// check says what is wrong with next, and what differs from before.
func (f *Flow) check(before, next account.Settings, now time.Time) ([]change, error) {
	if err := next.Check(before, now); err != nil {
		return nil, err
	}
	if next.TwoKinds && (!before.TwoKinds || before.AllowSMS && !next.AllowSMS) && !f.secondKind(next) {
		return nil, ErrNoSecondKind
	}
	return changes(before, next)
}

// secondKind reports whether there is something to bind beside a virtual MFA
// device.
func (f *Flow) secondKind(s account.Settings) bool {
	return f.Passkeys != nil || s.AllowSMS && f.Sending.Can(factor.SMS) == nil
}

// Save makes next the settings of the account. They act at the next request.
func (f *Flow) Save(ctx context.Context, v prove.Visitor, s prove.Signed, next account.Settings) error {
	next = normal(next)
	return f.DB.Write(ctx, v.As(s.Identity), func(tx *store.Tx) error {
		// Whoever saves at the same time waits here, and then compares with ours.
		if _, _, err := tx.Count("settings:"+string(s.Identity.Account), savesPerDay, 24*time.Hour); err != nil {
			return err
		}
		i, err := tx.Identity(s.Identity.ID)
		if has, err := store.HasRow(err); err != nil {
			return err
		} else if !has || !i.Role.Administers() {
			return ErrForbidden
		}
		before, err := tx.Settings(i.Account)
		if err != nil {
			return err
		}
		changed, err := f.check(before, next, tx.Now)
		if err == nil && len(changed) == 0 {
			err = ErrNothingNew
		}
		if err != nil {
			return err
		}
		reason, err := lockedOut(&tx.Reader, v, i, next)
		if err != nil {
			return err
		}
		if reason != nil {
			return reason
		}
		if _, err := f.writes(tx, s, ChangeSettings(next)); err != nil {
			return err
		}
		if err := tx.SetSettings(i.Account, next); err != nil {
			return err
		}
		if before.Remember && !next.Remember { // nor when it is on again
			if _, err := tx.ForgetRememberedIn(i.Account); err != nil {
				return err
			}
		}
		if err := f.tellPolicy(tx, v, i); err != nil {
			return err
		}
		return recordSettings(tx, i, changed)
	})
}

// tellPolicy tells the owner, and whoever else administers the account, that
// its settings have changed.
func (f *Flow) tellPolicy(tx *store.Tx, v prove.Visitor, author account.Identity) error {
	all, err := tx.Peek().Administrators(author.Account)
	for _, one := range all {
		if err == nil && (one.IsOwner() || one.ID != author.ID) {
			err = f.Notify(tx, v, one, message.PolicyChanged)
		}
	}
	return err
}

// recordSettings writes down what changed, from what to what.
func recordSettings(tx *store.Tx, i account.Identity, changed []change) error {
	events := map[audit.Name]map[string]string{}
	for _, c := range changed {
		name := audit.PreferenceModify
		if c.password {
			name = audit.PasswordPolicyModify
		}
		if events[name] == nil {
			events[name] = map[string]string{}
		}
		events[name][c.name+".from"], events[name][c.name+".to"] = c.from, c.to
	}
	for _, name := range []audit.Name{audit.PreferenceModify, audit.PasswordPolicyModify} {
		if events[name] == nil {
			continue
		}
		if err := tx.Record(audit.Event{Account: i.Account, Name: name, Details: events[name]}); err != nil {
			return err
		}
	}
	return nil
}

// A change is a field of the settings that differs.
type change struct {
	name     string // as in the API
	from, to string
	password bool // it belongs to the password policy
}

// changes compares settings field by field, in the order of their names, those
// of the password policy last.
func changes(before, next account.Settings) ([]change, error) {
	list, err := compare(normal(before), normal(next), false)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(c change) bool { return c.name == "PasswordPolicy" })
	more, err := compare(before.Password, next.Password, true)
	return append(list, more...), err
}

func compare(before, next any, password bool) (list []change, err error) {
	var from, to map[string]json.RawMessage
	for _, one := range []struct {
		of   any
		into *map[string]json.RawMessage
	}{{before, &from}, {next, &to}} {
		b, err := json.Marshal(one.of)
		if err == nil {
			err = json.Unmarshal(b, one.into)
		}
		if err != nil {
			return nil, fmt.Errorf("compare settings: %w", err)
		}
	}
	for name, value := range to {
		if was := from[name]; string(was) != string(value) {
			list = append(list, change{name, plain(was), plain(value), password})
		}
	}
	slices.SortFunc(list, func(a, b change) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

// plain is a value as people read it.
func plain(value json.RawMessage) string {
	s := strings.Trim(string(value), `"[]`)
	if s == "null" || strings.HasPrefix(s, "0001-") { // no masks, no date
		return ""
	}
	return strings.ReplaceAll(s, `","`, " ")
}
