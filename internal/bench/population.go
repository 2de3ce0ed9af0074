package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/session"
	"countersign/internal/domain/throttle"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/signin"
	"countersign/internal/locale"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/yardstick"
)

const (
	// perAccount is how many users an account has: what grows is the number of
	// accounts, as it does for an operator.
	perAccount = 1000
	// atOnce is how many users one write makes.
	atOnce = 250

	password = "a password for measuring"
	agent    = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
)

// cheap is a password hash that costs next to nothing, so that the rest shows.
var cheap = secret.Argon2{MemoryKiB: 64, Passes: 1, Threads: 1}

// A population is a store with people in it, and the flows on it.
type population struct {
	engine   string
	size     int
	dir, url string
	db       *store.DB
	bare     *yardstick.Yardstick // in a database of its own, of the same size
	prover   *prove.Prover
	signIn   *signin.Flow
	admin    *admin.Flow
	seed     []byte
	key      *authenticator

	moved atomic.Int64 // by how much its clock is ahead
	next  atomic.Int64 // the one whose turn it is
}

// openPopulation opens a store with n users, who are made if they are not there.
func openPopulation(ctx context.Context, dir, engine, url string, n int, say func(string, ...any)) (p *population, err error) {
	p = &population{engine: engine, size: n, seed: make([]byte, factor.SeedBytes)}
	keys, err := secret.OpenKeyring(filepath.Join(dir, "keys.json"), rand.Reader, time.Now())
	if err != nil {
		return nil, err
	}
	if p.db, err = store.Open(ctx, store.Config{URL: url, Keys: keys, Now: p.now, Random: rand.Reader}); err != nil {
		return nil, err
	}
	hasher, err := secret.NewHasher(cheap, rand.Reader, 64, 1000)
	if err != nil {
		return nil, err
	}
	p.prover = &prove.Prover{DB: p.db, Hasher: hasher, Random: rand.Reader, FleetAlarm: 1 << 30, Fleet: &prove.Fleet{}, Quotas: account.DefaultQuotas, Suffix: store.DefaultSuffix,
		Sending:  prove.Sending{Ceiling: throttle.Ceiling{All: 1 << 30, Text: 1 << 30, Country: 1 << 30}},
		Service:  message.Service{Name: "Countersign", URL: "http://localhost"},
		Passkeys: &passkey.RelyingParty{ID: "localhost", Name: "Countersign", Origins: []string{"http://localhost"}}}
	p.signIn = &signin.Flow{Prover: p.prover, Lifetimes: session.Default}
	p.admin = &admin.Flow{Prover: p.prover, Lifetimes: session.Default}
	if p.key, err = newAuthenticator("localhost", "http://localhost"); err != nil {
		return nil, err
	}
	return p, p.fill(ctx, say)
}

func (p *population) close() error {
	if p.bare == nil {
		return p.db.Close()
	}
	return errors.Join(p.db.Close(), p.bare.Close())
}

func (p *population) now() time.Time { return time.Now().Add(time.Duration(p.moved.Load())) }

func accountID(n int) account.ID { return account.ID(fmt.Sprintf("1%015d", n)) }

func ownerEmail(n int) string { return fmt.Sprintf("owner%d@bench.example", n) }

// name is what the user numbered signs in with.
func name(n int) string {
	return fmt.Sprintf("user%d@%s.%s", n%perAccount, accountID(n/perAccount), store.DefaultSuffix)
}

// fill makes the users, in order.
func (p *population) fill(ctx context.Context, say func(string, ...any)) error {
	hash, err := p.prover.Hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	begun, told := time.Now(), time.Now()
	for n := 0; n < p.size; n += atOnce {
		err := p.db.Write(ctx, audit.Housekeeping("bench"), func(tx *store.Tx) error {
			if n%perAccount == 0 {
				if err := p.addAccount(tx, n/perAccount, hash); err != nil {
					return err
				}
			}
			for k := n; k < min(n+atOnce, p.size); k++ {
				if err := p.addUser(tx, k, hash); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("make users: %w", err)
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			say("%s: %d of %d users, %.0f a second", p.engine, n+atOnce, p.size, float64(n+atOnce)/time.Since(begun).Seconds())
		}
	}
	return nil
}

func (p *population) addAccount(tx *store.Tx, n int, hash string) error {
	a := account.Account{ID: accountID(n), Alias: string(accountID(n)), CreatedAt: tx.Now}
	if err := tx.AddAccount(a); err != nil {
		return err
	}
	id, err := p.db.NewID()
	if err != nil {
		return err
	}
	return tx.AddIdentity(account.Identity{ID: account.IdentityID(id), Account: a.ID, Role: account.Owner, Email: ownerEmail(n), EmailConfirmedAt: tx.Now,
		PasswordHash: hash, PasswordChangedAt: tx.Now, PasswordAlone: true, Locale: locale.All[0].Tag, Epoch: 1, CreatedAt: tx.Now})
}

// addUser makes a user with a login profile, a virtual MFA device and a passkey,
// and with what the first sign-in leaves for good, a budget and a recovery code:
// else every sign-in in the large population would be the first of somebody.
func (p *population) addUser(tx *store.Tx, n int, hash string) error {
	id, err := p.db.NewID()
	if err != nil {
		return err
	}
	i := account.Identity{ID: account.IdentityID(id), Account: accountID(n / perAccount), Role: account.User, UserName: fmt.Sprintf("user%d", n%perAccount), DisplayName: fmt.Sprintf("User No. %d", n),
		PasswordHash: hash, PasswordChangedAt: tx.Now, PasswordAlone: true, Locale: locale.All[0].Tag, Epoch: 1, CreatedAt: tx.Now}
	if err := tx.AddUser(i); err != nil {
		return err
	}
	if err := tx.SetProfile(i.Account, i.ID, account.Profile{State: account.ProfileActive}); err != nil {
		return err
	}
	device := store.VirtualMFA{VirtualDevice: factor.VirtualDevice{Seed: p.seed}, ID: id, Name: "App"}
	if err := tx.AddVirtualMFA(i.Account, i.ID, device, errThere); err != nil {
		return err
	}
	if err := tx.AddPasskey(store.Passkey{Account: i.Account, Identity: i.ID, ID: id, Name: "Key", Credential: p.key.credential(id)}); err != nil {
		return err
	}
	if err := tx.SaveBudget(i.Account, i.ID, throttle.NewBudget(tx.Now), 0); err != nil {
		return err
	}
	return tx.ReplaceRecoveryCodes(i.Account, i.ID, [][]byte{prove.RecoveryHash(i, "the last one left")})
}

// somebody is a user whose turn it is. Everybody has one turn before anybody
// has another, far from the one before; then time moves on, so that the next
// code is a new one.
func (p *population) somebody() int {
	turn := p.next.Add(1) - 1
	if turn > 0 && turn%int64(p.size) == 0 {
		p.moved.Add(int64(2 * factor.TOTPStep))
	}
	const stride = 7919 // a prime that divides no round number
	return int(turn * stride % int64(p.size))
}

// identity reads the user numbered.
func (p *population) identity(ctx context.Context, n int) (account.Identity, error) {
	return p.prover.Find(p.db.Read(ctx), prove.Door{RAM: true}, name(n))
}

// visitor is an unknown browser somewhere.
func visitor() prove.Visitor {
	r := mathrand.Uint32() //nolint:gosec // spreads addresses, no secret
	return prove.Visitor{Address: netip.AddrFrom4([4]byte{10, byte(r >> 16), byte(r >> 8), byte(r)}), UserAgent: agent, Request: "bench", Locale: locale.All[0]}
}

// code is the present one of everybody's virtual MFA device.
func (p *population) code() string { return factor.HOTP(p.seed, factor.StepAt(p.now())) }
