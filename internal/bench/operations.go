package bench

import (
	"context"
	"errors"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/session"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// errThere says that a row which is to be made is there already.
var errThere = errors.New("bench: the row is there already")

// An operation is what is measured. Its function prepares one run, which is
// not measured, and returns the run.
type operation struct {
	name    string
	prepare func(ctx context.Context, p *population) (run func() error, err error)
}

// operations are measured one at a time, on each population in turn.
var operations = []operation{
	{"read a session", readSession},
	{"password to second step, cheap hash", begin},
	{"second step by code, to a session", finish},
	{"TOTP check with its replay row and event", checkTOTP},
	{plain, checkPlain},
	{"second step by passkey, to a session", finishByPasskey},
	{"audit append", appendEvent},
	{"list of users", list},
	{"search of users", search},
}

// begin gives the right password of a user.
func begin(ctx context.Context, p *population) (func() error, error) {
	v, n := visitor(), p.somebody()
	return func() error {
		_, err := p.signIn.Begin(ctx, v, prove.Door{RAM: true}, name(n), password, "")
		return err
	}, nil
}

func finish(ctx context.Context, p *population) (func() error, error) {
	v, n := visitor(), p.somebody()
	at, err := p.signIn.Begin(ctx, v, prove.Door{RAM: true}, name(n), password, "")
	if err != nil {
		return nil, err
	}
	answer := prove.Answer{Method: factor.VirtualMFA, Codes: []string{p.code()}}
	return func() error {
		done, err := p.signIn.Answer(ctx, v, at.Token, answer)
		if err == nil && done.Session == nil {
			err = errors.New("bench: a code led to no session")
		}
		return err
	}, nil
}

func finishByPasskey(ctx context.Context, p *population) (func() error, error) {
	v, n := visitor(), p.somebody()
	at, err := p.signIn.Begin(ctx, v, prove.Door{RAM: true}, name(n), password, "")
	if err != nil {
		return nil, err
	}
	state, err := p.signIn.State(ctx, v, at.Token)
	if err != nil {
		return nil, err
	}
	for _, o := range state.Offers {
		if o.Method != factor.Passkey {
			continue
		}
		said, err := p.key.answer(o.Options)
		return func() error {
			done, err := p.signIn.Answer(ctx, v, at.Token, prove.Answer{Method: factor.Passkey, Credential: said})
			if err == nil && done.Session == nil {
				err = errors.New("bench: a passkey led to no session")
			}
			return err
		}, err
	}
	return nil, errors.New("bench: no passkey is offered")
}

// plain is what of the check is the database's: it has no target.
const plain = "the rows of a TOTP check by plain SQL"

func checkPlain(ctx context.Context, p *population) (func() error, error) {
	return func() error { return p.bare.Check(ctx) }, nil
}

// checkTOTP is the check alone: charged, compared, used up, recorded.
func checkTOTP(ctx context.Context, p *population) (func() error, error) {
	i, err := p.identity(ctx, p.somebody())
	if err != nil {
		return nil, err
	}
	v, answer := visitor(), prove.Answer{Method: factor.VirtualMFA, Codes: []string{p.code()}}
	event := audit.Event{Account: i.Account, Identity: i.ID, Name: audit.IdentityVerify}
	return func() error {
		return p.prover.Check(ctx, v, v.As(i), i, "", answer, event, func(tx *store.Tx, _ factor.Proof) error { return tx.Record(event) })
	}, nil
}

func appendEvent(ctx context.Context, p *population) (func() error, error) {
	i, err := p.identity(ctx, p.somebody())
	if err != nil {
		return nil, err
	}
	v := visitor()
	return func() error {
		return p.db.Write(ctx, v.As(i), func(tx *store.Tx) error {
			return tx.Record(audit.Event{Account: i.Account, Identity: i.ID, Name: audit.IdentityVerify, Details: map[string]string{"method": "virtual_mfa"}})
		})
	}, nil
}

// signed is a session of an identity, kept in the store.
func (p *population) signed(ctx context.Context, i account.Identity) (s prove.Signed, token secret.Token, err error) {
	if token, err = secret.NewToken(p.prover.Random); err != nil {
		return s, token, err
	}
	id, err := p.db.NewID()
	if err != nil {
		return s, token, err
	}
	now := p.now()
	s = prove.Signed{Identity: i, Session: session.Session{ID: id, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(6 * time.Hour), Address: "192.0.2.1", UserAgent: agent,
		Proofs: []factor.Proof{{Method: factor.Password, At: now}, {Method: factor.VirtualMFA, At: now}}}}
	return s, token, p.db.Write(ctx, audit.Housekeeping("bench"), func(tx *store.Tx) error { return tx.AddSession(s.Session, token.Hash()) })
}

// readSession is what a session check costs where nothing is cached.
func readSession(ctx context.Context, p *population) (func() error, error) {
	i, err := p.identity(ctx, p.somebody())
	if err != nil {
		return nil, err
	}
	_, token, err := p.signed(ctx, i)
	if err != nil {
		return nil, err
	}
	p.db.ForgetSession(token.Hash())
	return func() error {
		_, err := p.db.Read(ctx).Session(token.Hash())
		return err
	}, nil
}

// owner is the owner of the account that the next user is in.
func (p *population) owner(ctx context.Context) (prove.Signed, error) {
	i, err := p.db.Read(ctx).IdentityByEmail(ownerEmail(p.somebody() / perAccount))
	return prove.Signed{Identity: i}, err
}

func list(ctx context.Context, p *population) (func() error, error) {
	return listing(ctx, p, store.UserQuery{})
}

func search(ctx context.Context, p *population) (func() error, error) {
	return listing(ctx, p, store.UserQuery{Search: "user5"})
}

func listing(ctx context.Context, p *population, q store.UserQuery) (func() error, error) {
	s, err := p.owner(ctx)
	return func() error {
		l, err := p.admin.Users(ctx, s, q, 1)
		if err == nil && len(l.Users) == 0 {
			err = errors.New("bench: a list of nobody")
		}
		return err
	}, err
}
