package imports

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/passkey"
	"countersign/internal/prove"
	"countersign/internal/store"
)

// A Flow imports.
type Flow struct {
	*prove.Prover
}

// DefaultName is what a key is called that has no name in the file.
const DefaultName = "Security key"

// A Report says what an import did, or would do. Where lines are bad it did
// nothing.
type Report struct {
	Keys, Users int
	Bad         []Bad
}

// errUndone takes a write back that was only tried, or has bad lines.
var errUndone = errors.New("imports: not kept")

// importsPerDay only makes the row that imports wait at for one another.
const importsPerDay = 1 << 20

// U2F binds the keys of a file, all in one write or none; dry: none, but the
// report is the same. bad are the lines that could not be read.
func (f *Flow) U2F(ctx context.Context, actor audit.Actor, list []Record, bad []Bad, dry bool) (report Report, err error) {
	if f.Passkeys == nil {
		return report, passkey.ErrOff
	}
	err = f.DB.Write(ctx, actor, func(tx *store.Tx) error {
		if _, _, err := tx.Count("import:u2f", importsPerDay, 24*time.Hour); err != nil {
			return err
		}
		im := &importing{flow: f, tx: tx, users: map[string]*user{}, ids: map[account.IdentityID]*user{}}
		report = Report{Bad: slices.Clone(bad)}
		for _, r := range list {
			why, err := im.add(r)
			if err != nil {
				return err
			}
			if why != "" {
				report.Bad = append(report.Bad, Bad{r.Line, why})
			}
		}
		slices.SortFunc(report.Bad, func(a, b Bad) int { return cmp.Compare(a.Line, b.Line) })
		report.Keys = im.keys
		for _, u := range im.ids {
			if u.added > 0 {
				report.Users++
			}
		}
		if dry || len(report.Bad) > 0 {
			return errUndone
		}
		return nil
	})
	if errors.Is(err, errUndone) {
		err = nil
	}
	return report, err
}

// importing is one write under way.
type importing struct {
	flow  *Flow
	tx    *store.Tx
	users map[string]*user // by what the file calls them; nil: nobody
	ids   map[account.IdentityID]*user
	keys  int
}

// A user is somebody whom the file names, and what they have.
type user struct {
	account.Identity
	present []store.Passkey
	keys    int // of the old type
	added   int
	bare    bool // a RAM user who had no second step
}

// add binds one key, or says why it cannot be.
func (im *importing) add(r Record) (why string, err error) {
	if !im.flow.Passkeys.Answers(passkey.Credential{AppID: r.AppID}) {
		if !slices.ContainsFunc(im.flow.Passkeys.Origins, func(o string) bool { return strings.HasPrefix(o, "https://") }) {
			return "app_id is of use under an https public_url alone, and this server's is " + strings.Join(im.flow.Passkeys.Origins, ", "), nil
		}
		return fmt.Sprintf("app_id is of another site than %s: no browser lets the key sign there", strings.Join(im.flow.Passkeys.Origins, ", ")), nil
	}
	u, err := im.user(r.User)
	if err != nil {
		return "", err
	}
	if u == nil {
		return "user is neither the address of an owner nor the name of a RAM user", nil
	}
	for _, k := range u.present {
		if k.IsU2F() && k.AppID != r.AppID { // a browser is asked for one at a time
			return fmt.Sprintf("app_id differs from that of another key of the user, %s: all of a user must have one", k.AppID), nil
		}
	}
	if u.keys >= im.flow.Quotas.Passkeys {
		return fmt.Sprintf("the user would have more keys than quota_passkeys allows, %d", im.flow.Quotas.Passkeys), nil
	}
	k := store.Passkey{Name: u.name(r.Name), Account: u.Account, Identity: u.ID, CreatedAt: im.tx.Now,
		Credential: passkey.Credential{ID: r.KeyHandle, PublicKey: r.PublicKey, AppID: r.AppID, SignCount: r.Counter}}
	if k.ID, err = im.flow.DB.NewID(); err != nil {
		return "", err
	}
	switch err := im.tx.AddPasskey(k); {
	case errors.Is(err, passkey.ErrTaken):
		return "key_handle is bound already", nil
	case errors.Is(err, passkey.ErrNameTaken):
		return "name is that of another key of the user", nil
	case err != nil:
		return "", err
	}
	if u.added == 0 {
		if _, err := im.tx.ForgetAllRemembered(u.ID); err != nil {
			return "", err
		}
	}
	if u.bare && u.added == 0 { // browsers that are known by the password alone
		if _, err := im.tx.DropKnownDevices(u.ID); err != nil {
			return "", err
		}
	}
	u.present = append(u.present, k)
	u.keys, u.added, im.keys = u.keys+1, u.added+1, im.keys+1
	return "", im.tx.Record(audit.Event{Account: u.Account, Name: audit.U2FImport, Identity: u.ID, Target: k.ID, Details: map[string]string{"name": k.Name, "app_id": k.AppID}})
}

// user finds who is named; an address of an owner comes first, as at the
// account's door.
func (im *importing) user(named string) (*user, error) {
	if u, known := im.users[named]; known {
		return u, nil
	}
	i, err := account.Identity{}, store.ErrNoRow
	if email, wrong := account.ParseEmail(named); wrong == nil {
		i, err = im.tx.IdentityByEmail(email)
	}
	if errors.Is(err, store.ErrNoRow) {
		i, err = im.tx.IdentityBySignInName(account.ParseSignInName(named, "", im.flow.Suffix))
	}
	if errors.Is(err, store.ErrNoRow) {
		im.users[named] = nil
		return nil, nil //nolint:nilnil // nobody
	}
	if err != nil {
		return nil, err
	}
	u := im.ids[i.ID] // perhaps under another name
	if u == nil {
		u = &user{Identity: i}
		facts, err := im.tx.Peek().Facts(i, nil)
		if err != nil {
			return nil, err
		}
		u.bare = !i.IsOwner() && !facts.SecondFactor()
		if u.present, err = im.tx.Passkeys(i.Account, i.ID); err != nil {
			return nil, err
		}
		for _, k := range u.present {
			if k.IsU2F() {
				u.keys++
			}
		}
		im.ids[i.ID] = u
	}
	im.users[named] = u
	return u, nil
}

// name is the one given, or one that the user has no key of yet.
func (u *user) name(given string) string {
	if given != "" {
		return given
	}
	for n, next := 2, DefaultName; ; n++ {
		if !slices.ContainsFunc(u.present, func(k store.Passkey) bool { return strings.EqualFold(k.Name, next) }) {
			return next
		}
		next = fmt.Sprintf("%s %d", DefaultName, n)
	}
}
