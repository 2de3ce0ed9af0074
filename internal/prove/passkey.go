package prove

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/ceremony"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/passkey"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/store"
)

// Purposes of challenges.
const (
	forCreation = "create"
	forProof    = "get"
)

// ChallengeLifetime is how long a challenge waits for its answer.
const ChallengeLifetime = 10 * time.Minute

// A NewPasskey is a passkey that is being made.
type NewPasskey struct {
	Ceremony string          // its id, which is no secret
	Options  json.RawMessage // for the browser
	Replaces string          // name of the key that goes when this one stands
}

// challenge draws one for a ceremony.
func (p *Prover) challenge(tx *store.Tx, c ceremony.Ceremony, purpose string) ([]byte, error) {
	challenge := make([]byte, passkey.ChallengeBytes)
	if _, err := io.ReadFull(p.Random, challenge); err != nil {
		return nil, fmt.Errorf("draw a challenge: %w", err)
	}
	expires := tx.Now.Add(ChallengeLifetime)
	if c.ExpiresAt.Before(expires) {
		expires = c.ExpiresAt
	}
	return challenge, tx.AddChallenge(c.ID, purpose, challenge, expires)
}

// PasskeyOptions are what a browser needs to make a passkey of the identity in
// the ceremony. The key that it takes the place of is not in the way.
func (p *Prover) PasskeyOptions(tx *store.Tx, i account.Identity, c ceremony.Ceremony) (json.RawMessage, error) {
	if p.Passkeys == nil {
		return nil, passkey.ErrOff
	}
	present, err := tx.Passkeys(i.Account, i.ID)
	if err != nil {
		return nil, err
	}
	recovered := slices.ContainsFunc(c.Proofs, func(p factor.Proof) bool { return p.Method == factor.Ticket }) // what is there goes
	var have []passkey.Credential
	for _, k := range present {
		if k.ID != c.Private.Replaces && !recovered {
			have = append(have, k.Credential)
		}
	}
	handle, err := tx.PasskeyHandle(i.Account, i.ID)
	if err != nil {
		return nil, err
	}
	challenge, err := p.challenge(tx, c, forCreation)
	if err != nil {
		return nil, err
	}
	u := passkey.User{Handle: handle, Name: i.Name(), DisplayName: i.DisplayName}
	if u.DisplayName == "" {
		u.DisplayName = u.Name
	}
	return p.Passkeys.Creation(challenge, u, have)
}

// DiscoverOptions are what a browser needs to sign in by a passkey alone.
func (p *Prover) DiscoverOptions(tx *store.Tx, c ceremony.Ceremony) (json.RawMessage, error) {
	return p.request(tx, c, nil, true)
}

func (p *Prover) request(tx *store.Tx, c ceremony.Ceremony, keys []store.Passkey, alone bool) (json.RawMessage, error) {
	if p.Passkeys == nil {
		return nil, passkey.ErrOff
	}
	var allow []passkey.Credential
	for _, k := range keys {
		allow = append(allow, k.Credential)
	}
	challenge, err := p.challenge(tx, c, forProof)
	if err != nil {
		return nil, err
	}
	return p.Passkeys.Request(challenge, allow, alone)
}

// Can refuses a method that this server cannot serve.
func (p *Prover) Can(m factor.Method) error {
	if m == factor.Passkey && p.Passkeys == nil {
		return passkey.ErrOff
	}
	return p.Sending.Can(m)
}

// keys are the passkeys of the identity, or its U2F keys.
func (p *Prover) keys(tx *store.Tx, i account.Identity, m factor.Method) ([]store.Passkey, error) {
	all, err := tx.Peek().Passkeys(i.Account, i.ID)
	return slices.DeleteFunc(all, func(k store.Passkey) bool { return k.IsU2F() != (m == factor.U2F) }), err
}

// answered uses up the challenge that is answered, and a try. A stale answer is
// checked too, and refused by its check, which writes it down.
func answered(tx *store.Tx, ceremonyID string, read *passkey.Answer) (stale, refusal, err error) {
	if read == nil {
		return nil, nil, nil
	}
	err = tx.UseChallenge(ceremonyID, forProof, read.Challenge, passkey.ErrStale)
	if errors.Is(err, passkey.ErrStale) {
		stale, err = err, nil
	}
	if err == nil {
		refusal, err = spend(tx, ceremonyID) // cannot be guessed; bounded against load
	}
	return stale, refusal, err
}

// payAnswered takes what answered took, unasked.
func payAnswered(tx *store.Tx, ceremonyID string, read *passkey.Answer) error {
	if read == nil {
		return nil
	}
	if err := tx.UseChallenge(ceremonyID, forProof, read.Challenge, nil); err != nil {
		return err
	}
	return tx.SpendTry(ceremonyID, nil)
}

// readKey reads the answer of a key that signs. What is wrong with it is said by
// the check, which writes it down.
func (p *Prover) readKey(v Visitor, i account.Identity, ceremonyID string, answer Answer) (trial, error) {
	if len(answer.Credential) == 0 {
		return trial{}, passkey.ErrMalformed
	}
	read, malformed := passkey.ParseAnswer(answer.Credential)
	var stale error
	return trial{func(tx *store.Tx, a *attempt) (refusal, err error) {
		a.proof = new(factor.Proof)
		stale, refusal, err = answered(tx, ceremonyID, read)
		return refusal, err
	}, func(tx *store.Tx, a *attempt) error {
		switch {
		case malformed != nil:
			return malformed
		case stale != nil:
			return stale
		case p.Passkeys == nil:
			return passkey.ErrOff
		}
		if err := p.Passkeys.Sound(read, false); err != nil {
			return err
		}
		k, err := tx.PasskeyByCredential(read.ID)
		if errors.Is(err, store.ErrNoRow) || err == nil && (k.Identity != i.ID || k.IsU2F() != (answer.Method == factor.U2F)) {
			return passkey.ErrNoSuch
		}
		if err != nil {
			return err
		}
		*a.proof, err = p.checkKey(tx, v, i, k, read, false)
		return err
	}, func(tx *store.Tx, _ attempt) error { return payAnswered(tx, ceremonyID, read) }}, nil
}

// checkKey checks an answer made with k, of the identity, and notes its use.
func (p *Prover) checkKey(tx *store.Tx, v Visitor, i account.Identity, k store.Passkey, read *passkey.Answer, alone bool) (proof factor.Proof, err error) {
	if len(read.UserHandle) > 0 || alone {
		handle, err := tx.PasskeyHandleOf(i.Account, i.ID)
		if _, err := store.HasRow(err); err != nil {
			return proof, err
		}
		if err != nil || !bytes.Equal(handle, read.UserHandle) {
			return proof, passkey.ErrForeign
		}
	}
	r, err := p.Passkeys.Check(read, k.Credential, alone)
	if errors.Is(err, passkey.ErrCounter) {
		if failed := p.copied(tx, v, i, k); failed != nil {
			return proof, failed
		}
		return proof, err
	}
	if err != nil {
		return proof, err
	}
	proof = factor.Proof{Method: factor.Passkey, At: tx.Now, Verified: r.Verified, Synced: k.BackupEligible}
	if k.IsU2F() {
		proof.Method = factor.U2F
	}
	return proof, tx.UsePasskey(k.ID, k.SignCount, r.SignCount, r.BackedUp, v.Address.String(), audit.Clip(v.UserAgent, audit.AgentMaxBytes), passkey.ErrCounter)
}

// copied notes that the counter of a key went back, and tells of it once a day.
func (p *Prover) copied(tx *store.Tx, v Visitor, i account.Identity, k store.Passkey) error {
	if err := tx.MarkCopied(k.ID); err != nil {
		return err
	}
	if err := tx.Record(audit.Event{Account: i.Account, Name: audit.PasskeyCounter, Identity: i.ID, Target: k.ID, Details: map[string]string{"name": k.Name}}); err != nil {
		return err
	}
	first, _, err := tx.Count("told:"+string(message.PasskeyCopied)+":"+k.ID, 1, 24*time.Hour)
	if err != nil || !first {
		return err
	}
	return p.Notify(tx, v, i, message.PasskeyCopied)
}

// SignInPasskey checks the answer of a passkey alone, which also says whose it
// is. When it is right, then runs in the write that remembers it.
func (p *Prover) SignInPasskey(ctx context.Context, v Visitor, ceremonyID string, credential []byte, then func(tx *store.Tx, i account.Identity, proof factor.Proof) error) error {
	if len(credential) == 0 {
		return passkey.ErrMalformed
	}
	read, malformed := passkey.ParseAnswer(credential)
	var stale error
	return p.try(ctx, v, v.Actor(), func(tx *store.Tx) (refusal, err error) {
		stale, refusal, err = answered(tx, ceremonyID, read)
		return refusal, err
	}, func(tx *store.Tx) (refusal, err error) {
		proof, i, refusal := factor.Proof{}, account.Identity{}, cmp.Or(malformed, stale)
		if refusal == nil {
			i, proof, refusal = p.discovered(tx, v, read)
		}
		switch {
		case ours(refusal):
			return nil, refusal
		case refusal == nil:
			tx.Actor = v.As(i)
			return nil, then(tx, i, proof)
		}
		return refusal, tx.Record(audit.Event{Account: i.Account, Name: audit.ConsoleSignin, Identity: i.ID, Refused: fault.From(refusal).Code,
			Details: map[string]string{"method": string(factor.Passkey), "why": passkey.Why(refusal), "alone": "yes"}})
	}, func(tx *store.Tx) error { return payAnswered(tx, ceremonyID, read) })
}

// discovered finds whose passkey has answered, and checks the answer.
func (p *Prover) discovered(tx *store.Tx, v Visitor, read *passkey.Answer) (i account.Identity, proof factor.Proof, err error) {
	if p.Passkeys == nil {
		return i, proof, passkey.ErrOff
	}
	if err := p.Passkeys.Sound(read, true); err != nil {
		return i, proof, err
	}
	k, err := tx.PasskeyByCredential(read.ID)
	if errors.Is(err, store.ErrNoRow) {
		return i, proof, passkey.ErrNoSuch
	}
	if err != nil {
		return i, proof, err
	}
	if i, err = tx.Identity(k.Identity); err != nil {
		return i, proof, err
	}
	proof, err = p.checkKey(tx, v, i, k, read, true)
	return i, proof, err
}

// ReadPasskey checks the answer to PasskeyOptions. The refusal of a wrong one
// is returned after it has been remembered under event.
func (p *Prover) ReadPasskey(ctx context.Context, v Visitor, i account.Identity, facts policy.Facts, ceremonyID string, credential []byte, event audit.Event) (c passkey.Credential, err error) {
	if p.Passkeys == nil {
		return c, passkey.ErrOff
	}
	if len(credential) == 0 {
		return c, passkey.ErrMalformed
	}
	challenge, refusal := passkey.ChallengeOf(credential)
	if refusal == nil {
		err := p.DB.Charge(ctx, v.Actor().Quietly(), func(tx *store.Tx) error {
			return tx.UseChallenge(ceremonyID, forCreation, challenge, passkey.ErrStale)
		})
		if refusal = err; ours(err) {
			return c, err
		}
	}
	if refusal == nil {
		lists := bindable(i, facts.Settings)
		lists.Plugged = event.Name == audit.U2FUpgrade // it is to be the same piece
		c, refusal = p.Passkeys.Register(credential, lists)
	}
	if refusal == nil {
		_, err = p.DB.Read(ctx).PasskeyByCredential(c.ID)
		taken, err := store.HasRow(err)
		if !taken || err != nil {
			return c, err
		}
		refusal = passkey.ErrTaken
	}
	f := fault.From(refusal)
	err = p.DB.Write(ctx, v.As(i), func(tx *store.Tx) error {
		event.Account, event.Identity, event.Refused = i.Account, i.ID, f.Code
		event.Details = map[string]string{"method": string(factor.Passkey), "why": passkey.Why(refusal)}
		return tx.Record(event)
	})
	return c, errors.Join(err, refusal)
}

// bindable is what the account lets its users bind; owners bind what the
// operator allows.
func bindable(i account.Identity, s account.Settings) (l passkey.Lists) {
	if i.IsOwner() {
		return l
	}
	l.NoSynced = s.NoSyncedAdministrators && i.Role.Administers()
	for _, model := range s.PasskeyModels {
		if a, err := passkey.ParseAAGUID(model); err == nil {
			l.Allow = append(l.Allow, a)
		}
	}
	return l
}

// AddPasskey binds a passkey under the name typed, or under that of its maker.
// The caller tells of it.
func (p *Prover) AddPasskey(tx *store.Tx, v Visitor, i account.Identity, c passkey.Credential, typed string) (k store.Passkey, err error) {
	if err := tx.Alone("passkeys:" + string(i.ID)); err != nil {
		return k, err
	}
	present, err := tx.Passkeys(i.Account, i.ID)
	if err != nil {
		return k, err
	}
	n := 0
	for _, one := range present {
		if !one.IsU2F() {
			n++
		}
	}
	if n >= p.Quotas.Passkeys {
		return k, passkey.ErrQuota
	}
	k = store.Passkey{Credential: c, Account: i.Account, Identity: i.ID, CreatedAt: tx.Now, CreatedFrom: v.Address.String()}
	if k.Name, err = PasskeyName(typed); err != nil {
		return k, err
	}
	if k.Name == "" {
		k.Name = numbered(defaultName(v, c), present)
	}
	if k.ID, err = p.DB.NewID(); err != nil {
		return k, err
	}
	if err := tx.AddPasskey(k); err != nil {
		return k, err
	}
	if err := p.enrolled(tx, v, i); err != nil {
		return k, err
	}
	return k, tx.Record(audit.Event{Account: i.Account, Name: audit.PasskeyCreate, Identity: i.ID, Target: k.ID,
		Details: map[string]string{"name": k.Name, "model": c.AAGUID.String(), "synced": fmt.Sprint(c.BackupEligible)}})
}

// PasskeyName checks a name as typed; empty: none.
func PasskeyName(typed string) (string, error) {
	return account.ParseLine(typed, passkey.NameMax, passkey.ErrName)
}

// defaultName is what a passkey is called whose owner types nothing.
func defaultName(v Visitor, c passkey.Credential) string {
	if maker := c.AAGUID.Maker(); maker != "" {
		return maker
	}
	name := v.Locale.T("passkey.default", "Browser", message.Browser(v.Locale, v.UserAgent))
	if short, err := PasskeyName(name); err == nil && short != "" {
		return short
	}
	return v.Locale.T("method.passkey")
}

// numbered is the name with a number, if there is one of it already.
func numbered(name string, present []store.Passkey) string {
	taken := func(s string) bool {
		return slices.ContainsFunc(present, func(k store.Passkey) bool { return strings.EqualFold(k.Name, s) })
	}
	for n, next := 2, name; ; n++ {
		if !taken(next) {
			return next
		}
		next = fmt.Sprintf("%s %d", name, n)
	}
}

// DropPasskey takes a passkey or a U2F key off; gone is returned when it is
// not there.
func (p *Prover) DropPasskey(tx *store.Tx, v Visitor, i account.Identity, id string, gone error) (store.Passkey, error) {
	k, err := tx.Passkey(i.Account, i.ID, id)
	if errors.Is(err, store.ErrNoRow) {
		return k, gone
	}
	if err != nil {
		return k, err
	}
	if err := tx.RemovePasskey(i.Account, i.ID, id, gone); err != nil {
		return k, err
	}
	if err := p.Notify(tx, v, i, message.PasskeyRemoved); err != nil {
		return k, err
	}
	return k, tx.Record(audit.Event{Account: i.Account, Name: audit.PasskeyDelete, Identity: i.ID, Target: id, Details: map[string]string{"name": k.Name}})
}
