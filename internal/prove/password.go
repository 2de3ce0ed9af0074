package prove

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/throttle"
	"countersign/internal/fault"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A guess is one charged try of a password.
type guess struct {
	lane    throttle.Lane
	device  string
	network string

	lock   string // scope in which a RAM user's tries are counted, if the account bounds them
	last   bool   // this is the last try before the lock
	locked bool   // too many came before: right or wrong, it is refused like a wrong one
	wait   time.Duration
}

// lockWindow is how long wrong passwords in a row are remembered.
const lockWindow = 24 * time.Hour

// bounded counts a try under the bound that the account sets (MaxLoginAttemps):
// by the known device, else by the network, so that a stranger cannot lock
// anybody out who is elsewhere.
func (g *guess) bounded(tx *store.Tx, i account.Identity, network string) error {
	if i.ID == "" || i.IsOwner() {
		return nil
	}
	settings, err := tx.Settings(i.Account)
	if err != nil || settings.Password.LoginAttempts == 0 {
		return err
	}
	lane := network
	if g.lane == throttle.KnownDevice {
		lane = g.device
	}
	g.lock = fmt.Sprintf("lock:%s:%d:%s", i.ID, i.PasswordChangedAt.UnixMicro(), lane)
	ok, wait, err := tx.Count(g.lock, settings.Password.LoginAttempts, lockWindow)
	if err != nil {
		return err
	}
	if wait > account.LockLength { // the bound was lowered since, or the try that reached it never ended
		if wait, err = account.LockLength, tx.Hold(g.lock, account.LockLength); err != nil {
			return err
		}
	}
	g.wait = wait
	n, _, err := tx.Counted(g.lock, tx.Now)
	g.locked, g.last = !ok, ok && n == settings.Password.LoginAttempts
	return err
}

// chargePassword counts a try of a password before it is hashed: by the
// device where that is known, otherwise by the network, over all names.
func (p *Prover) chargePassword(ctx context.Context, v Visitor, find func(tx *store.Tx) (account.Identity, error)) (i account.Identity, g guess, err error) {
	defer func() { p.charged(factor.Password, g.chargeOf(err)) }()
	var refusal error
	err = p.DB.Charge(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		g, refusal = guess{}, nil
		var err error
		i, err = find(tx)
		if errors.Is(err, store.ErrNoRow) {
			i = account.Identity{}
		} else if err != nil {
			return err
		}
		d, known, err := p.lane(tx, v, i)
		if err != nil {
			return err
		}
		if known {
			ok, err := tx.ChargeKnownDevice(d.ID)
			if err != nil {
				return err
			}
			if ok {
				g.lane, g.device = throttle.KnownDevice, d.ID
				return g.bounded(tx, i, "")
			}
			if err := tx.DropKnownDevice(d.ID); err != nil {
				return err
			}
		}
		network := throttle.Network(v.Address).String()
		g.network = "passwords:" + network
		ok, wait, err := tx.Count(g.network, throttle.PasswordTries, throttle.PasswordWindow)
		if err != nil {
			return err
		}
		if !ok {
			refusal = ErrTooManyPasswords.After(wait)
			return nil
		}
		return g.bounded(tx, i, network)
	})
	if err == nil {
		err = refusal
	}
	return i, g, err
}

func (g guess) forgive(tx *store.Tx) error {
	if g.lock != "" {
		if err := tx.ClearCount(g.lock); err != nil {
			return err
		}
	}
	if g.lane == throttle.KnownDevice { // this try alone: the password is one step of two
		return tx.RefundKnownDevice(g.device)
	}
	return tx.Uncount(g.network)
}

// forgiveNow gives a try back that was never compared.
func (p *Prover) forgiveNow(ctx context.Context, v Visitor, g guess) error {
	return p.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		if g.lock != "" && !g.locked {
			if err := tx.Uncount(g.lock); err != nil {
				return err
			}
		}
		g.lock = ""
		return g.forgive(tx)
	})
}

// A Door is where somebody signs in. The zero one is the account's: it takes
// email addresses, and names of RAM users too, for whoever comes to the wrong
// one.
type Door struct {
	RAM    bool
	Domain string // that a name without one belongs to
}

// Find returns the identity that signs in with the name at the door. It looks
// twice for everybody: how long it takes tells nothing of who is there.
func (p *Prover) Find(r *store.Reader, d Door, name string) (account.Identity, error) {
	user, noUser := r.IdentityBySignInName(account.ParseSignInName(name, d.Domain, p.Suffix))
	if d.RAM {
		return user, noUser
	}
	owner, noOwner := r.IdentityByEmail(name)
	if errors.Is(noOwner, store.ErrNoRow) {
		return user, noUser
	}
	return owner, noOwner
}

// SignInPassword checks a user name and password. When they are right, then
// runs in the write that remembers it. An unknown name takes the same path,
// the same hash and the same writes as a wrong password.
func (p *Prover) SignInPassword(ctx context.Context, v Visitor, door Door, name, password string, then func(tx *store.Tx, i account.Identity, proof factor.Proof) error) error {
	switch {
	case strings.TrimSpace(name) == "" && door.RAM:
		return ErrUserNameAbsent
	case door.RAM && door.Domain == "" && !strings.Contains(name, "@"):
		return ErrUserNameForm
	case strings.TrimSpace(name) == "":
		return ErrNameAbsent
	case password == "":
		return ErrPasswordAbsent
	case len(password) > secret.PasswordMaxBytes:
		return ErrPasswordHuge
	case len(name) > account.EmailMaxBytes || strings.IndexByte(name, 0) >= 0:
		name = "" // nobody's, and PostgreSQL keeps no NUL
	}
	find := func(tx *store.Tx) (account.Identity, error) { return p.Find(tx.Peek(), door, name) }
	event := audit.Event{Name: audit.ConsoleSignin, Target: account.MaskEmail(name)}
	return p.password(ctx, v, password, find, ErrCredentials, event, then)
}

// CurrentPassword checks the password of an identity that is signed in.
func (p *Prover) CurrentPassword(ctx context.Context, v Visitor, i account.Identity, password string, then func(tx *store.Tx, i account.Identity, proof factor.Proof) error) error {
	switch {
	case password == "":
		return ErrPasswordAbsent
	case len(password) > secret.PasswordMaxBytes:
		return ErrPasswordHuge
	}
	find := func(tx *store.Tx) (account.Identity, error) { return tx.Identity(i.ID) }
	return p.password(ctx, v, password, find, ErrPasswordWrong, audit.Event{Name: audit.PasswordModify}, then)
}

// checkPassword checks a password as the answer of a ceremony: of somebody who
// has nothing else yet.
func (p *Prover) checkPassword(ctx context.Context, v Visitor, i account.Identity, ceremonyID, password string, event audit.Event, then func(tx *store.Tx, proof factor.Proof) error) error {
	switch {
	case password == "":
		return ErrPasswordAbsent.On("code")
	case len(password) > secret.PasswordMaxBytes:
		return ErrPasswordHuge
	}
	err := p.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
		refusal, err := spend(tx, ceremonyID)
		return errors.Join(err, refusal)
	})
	if err != nil {
		return err
	}
	find := func(tx *store.Tx) (account.Identity, error) { return tx.Identity(i.ID) }
	event.Details = map[string]string{"method": string(factor.Password)}
	return p.password(ctx, v, password, find, ErrPasswordWrong.On("code"), event, func(tx *store.Tx, _ account.Identity, proof factor.Proof) error {
		return then(tx, proof)
	})
}

func (p *Prover) password(ctx context.Context, v Visitor, password string, find func(tx *store.Tx) (account.Identity, error), wrong *fault.Fault, event audit.Event, then func(*store.Tx, account.Identity, factor.Proof) error) error {
	ctx, leave, err := p.Hasher.Queue(ctx) // first: a flood must not reach the database
	if err != nil {
		return err
	}
	defer leave()
	i, g, err := p.chargePassword(ctx, v, find)
	if err != nil {
		return err
	}
	right, stale, err := p.Hasher.Verify(ctx, i.PasswordHash, password)
	if err != nil {
		return errors.Join(err, p.forgiveNow(context.WithoutCancel(ctx), v, g))
	}
	right = right && !g.locked
	var next adopted
	if stale && right {
		if next, err = p.adopt(ctx, i, password); err != nil {
			return errors.Join(err, p.forgiveNow(context.WithoutCancel(ctx), v, g))
		}
	}
	actor := v.Actor()
	if right {
		actor = v.As(i)
	}
	var refusal error
	err = p.DB.Write(ctx, actor, func(tx *store.Tx) error {
		refusal = nil
		if right {
			now, err := tx.Identity(i.ID)
			if err != nil {
				return err
			}
			if right = samePassword(now, i); right { // not changed while we hashed
				if err := g.forgive(tx); err != nil {
					return err
				}
				if err := next.keep(tx, &now); err != nil {
					return err
				}
				return then(tx, now, factor.Proof{Method: factor.Password, At: tx.Now})
			}
		}
		refusal = wrong
		if g.locked && wrong != ErrCredentials { // somebody signed in, from whom nothing is hidden
			refusal = ErrTooManyPasswords.After(g.wait)
		}
		if g.last {
			if err := p.lockLane(tx, v, i, g); err != nil {
				return err
			}
		}
		event.Account, event.Identity, event.Refused = i.Account, i.ID, wrong.Code
		return tx.Record(event)
	})
	if err == nil {
		err = refusal
	}
	return err
}

// samePassword reports whether an identity still has the password that was
// read with before. Its hash may be another: somebody who signed in at the same
// time had it hashed anew.
func samePassword(now, before account.Identity) bool {
	return now.PasswordHash == before.PasswordHash ||
		now.PasswordHash != "" && now.Epoch == before.Epoch && now.PasswordChangedAt.Equal(before.PasswordChangedAt)
}

// An adopted is what becomes of a hash that is to be made anew.
type adopted struct {
	from, to string // hashes; to is empty: it stays, for another time
	alone    bool
	unfit    bool // the user must choose another password
}

// adopt hashes a right password anew. One that came from another system was
// never looked at, and is now: what nobody could choose here is chosen anew
// before there is a session.
func (p *Prover) adopt(ctx context.Context, i account.Identity, password string) (adopted, error) {
	a := adopted{from: i.PasswordHash, alone: account.LongEnoughAlone(password)}
	if secret.IsForeign(i.PasswordHash) && !i.IsOwner() {
		facts, err := p.DB.Read(ctx).Facts(i, nil)
		if err != nil {
			return a, err
		}
		a.unfit = p.fits(i, facts, password) != nil
	}
	if to, err := p.Hasher.Hash(ctx, password); err == nil {
		a.to = to
	}
	return a, nil
}

func (a adopted) keep(tx *store.Tx, now *account.Identity) error {
	if now.PasswordHash != a.from { // nothing to do, or somebody else was first
		return nil
	}
	if a.to != "" {
		if err := tx.SetPasswordHash(now.ID, a.from, a.to, a.alone); err != nil {
			return err
		}
		now.PasswordHash, now.PasswordAlone = a.to, a.alone
	}
	if !a.unfit {
		return nil
	}
	u, err := tx.User(now.Account, now.ID)
	if err != nil {
		return err
	}
	u.Profile.PasswordReset = true
	return tx.SetProfile(now.Account, now.ID, u.Profile)
}

// lockLane begins the lock that follows the last wrong password, and tells of it.
func (p *Prover) lockLane(tx *store.Tx, v Visitor, i account.Identity, g guess) error {
	if err := tx.Hold(g.lock, account.LockLength); err != nil {
		return err
	}
	if err := tx.Record(audit.Event{Account: i.Account, Name: audit.PasswordLock, Identity: i.ID}); err != nil {
		return err
	}
	return p.notifyOnce(tx, v, i, message.PasswordLocked)
}
