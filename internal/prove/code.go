package prove

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

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
	t, err := p.read(v, i, ceremonyID, answer)
	if err != nil {
		return err
	}
	var a, owed attempt // of this run of the write, and of the last that compared
	paid := ChargeUnpaid
	if answer.Method.Guessable() {
		defer func() { p.charged(answer.Method, paid) }()
	}
	err = p.try(ctx, v, actor, func(tx *store.Tx) (refusal, err error) {
		a, paid = attempt{}, ChargeUnpaid
		if refusal, err = t.charge(tx, &a); err == nil {
			paid = a.chargeOf(refusal)
		}
		return refusal, err
	}, func(tx *store.Tx) (refusal, err error) {
		owed = a
		refusal = t.check(tx, &a)
		if ours(refusal) {
			return nil, refusal
		}
		if answer.Method.Guessable() {
			if err := p.settle(tx, v, i, a, refusal == nil); err != nil {
				return nil, err
			}
		}
		if refusal == nil {
			proof := factor.Proof{Method: answer.Method, At: tx.Now}
			if a.proof != nil {
				proof = *a.proof
			}
			return nil, then(tx, proof)
		}
		event.Account, event.Identity, event.Refused = i.Account, i.ID, fault.From(refusal).Code
		event.Details = map[string]string{"method": string(answer.Method)}
		if why := passkey.Why(refusal); why != "" {
			event.Details["why"] = why
		}
		return refusal, tx.Record(event)
	}, func(tx *store.Tx) error { return t.pay(tx, owed) })
	if errors.Is(err, errUnpaid) {
		paid = ChargeUnpaid
	}
	return err
}

// try is one try of a proof, in one write. charge takes what it costs, and judge
// compares and uses up; a refusal of judge's is remembered, and returned after
// the COMMIT. Where charge refuses nothing was tried, and nothing is taken, but
// where a copied cookie was found that must be remembered.
//
// Nobody is told what became of a run that fails, and a second one may be
// refused before it compares; yet what made the first fail may depend on what
// was compared. So pay then takes the cost alone, whatever else has been charged
// meanwhile.
func (p *Prover) try(ctx context.Context, v Visitor, actor audit.Actor, charge, judge func(tx *store.Tx) (refusal, err error), pay func(tx *store.Tx) error) (err error) {
	var refusal error
	compared, judged, over := false, false, false // in any run of the write; in the last one; and it was committed
	defer func() {                                // after a panic too
		if compared && !over {
			err = p.payNow(ctx, v, err, pay)
		}
	}()
	err = p.DB.Write(ctx, v.Actor().Quietly(), func(tx *store.Tx) (err error) {
		judged = false
		if refusal, err = charge(tx); err != nil {
			return err
		}
		if refusal != nil && !tx.Recorded() {
			return refusal
		}
		if refusal != nil {
			return nil
		}
		compared, judged = true, true
		tx.Actor = actor
		refusal, err = judge(tx)
		return err
	})
	over = err == nil && judged
	if err == nil {
		err = refusal
	}
	return err
}

// errUnpaid says that a try could not be paid for. Whatever else it came to is
// not told.
var errUnpaid = errors.New("prove: a try is not paid for")

const payLimit = 10 * time.Second // for whoever waits for the answer

func (p *Prover) payNow(ctx context.Context, v Visitor, failed error, pay func(tx *store.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), payLimit)
	defer cancel()
	if err := p.DB.Write(ctx, v.Actor().Quietly(), pay); err != nil {
		return fmt.Errorf("%w: %w; it had failed: %v", errUnpaid, err, failed)
	}
	return failed
}

// ours reports whether what refused a proof is no fault of the visitor's.
func ours(refusal error) bool {
	return refusal != nil && fault.From(refusal).Kind.Ours()
}

// A trial is an answer that was read.
type trial struct {
	charge func(tx *store.Tx, a *attempt) (refusal, err error)
	check  func(tx *store.Tx, a *attempt) (refusal error)
	pay    func(tx *store.Tx, a attempt) error // what was charged, though it would be refused by now
}

// read parses the answer, and says what it costs and how it is checked.
func (p *Prover) read(v Visitor, i account.Identity, ceremonyID string, answer Answer) (trial, error) {
	switch answer.Method {
	case factor.Passkey, factor.U2F:
		return p.readKey(v, i, ceremonyID, answer)

	case factor.VirtualMFA:
		codes, err := answer.parse()
		if err != nil {
			return trial{}, err
		}
		if answer.Resynchronise && len(codes) != 2 {
			return trial{}, factor.ErrSecondMissing
		}
		return trial{func(tx *store.Tx, a *attempt) (refusal, err error) {
			return p.chargeCode(tx, v, i, ceremonyID, a, func(price int) error {
				if len(codes) < price && !answer.Resynchronise {
					return factor.ErrMoreCodesAsked.With("Count", price)
				}
				return nil
			})
		}, func(tx *store.Tx, a *attempt) error {
			if answer.Resynchronise {
				return checkVirtualMFA(tx, i, codes, true)
			}
			err := checkVirtualMFA(tx, i, codes, a.price == 1 && len(codes) == 2)
			if len(codes) > 1 && fault.From(err).Kind == fault.Unproven {
				return factor.ErrCodesWrong // which of them would be told to whoever guesses
			}
			return err
		}, payCode(i, ceremonyID)}, nil

	case factor.Email, factor.SMS:
		code := factor.NormalCode(first(answer.Codes))
		if code == "" {
			return trial{}, factor.ErrCodeMissing
		}
		return trial{func(tx *store.Tx, a *attempt) (refusal, err error) {
			a.confirming = answer.New || answer.Method == factor.Email && i.IsOwner()
			return p.chargeCode(tx, v, i, ceremonyID, a, func(price int) error {
				return longEnough(tx, ceremonyID, answer.Method, code, throttle.DigitsAt(price))
			})
		}, func(tx *store.Tx, _ *attempt) error {
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
		}, payCode(i, ceremonyID)}, nil

	case factor.RecoveryCode, factor.Ticket:
		code, err := factor.ParseRecoveryCode(first(answer.Codes))
		if answer.Method == factor.Ticket && errors.Is(err, factor.ErrRecoveryForm) {
			err = ErrTicketWrong
		}
		return trial{func(tx *store.Tx, _ *attempt) (refusal, err error) {
			return spend(tx, ceremonyID) // cannot be guessed; bounded against load
		}, func(tx *store.Tx, _ *attempt) error {
			if answer.Method == factor.Ticket {
				return checkTicket(tx, i, code)
			}
			return tx.UseRecoveryCode(i.Account, i.ID, RecoveryHash(i, code), factor.ErrRecoveryWrong)
		}, func(tx *store.Tx, _ attempt) error { return tx.SpendTry(ceremonyID, nil) }}, err
	}
	return trial{}, fmt.Errorf("prove: no check for method %q", answer.Method)
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
	return p.try(ctx, v, v.Actor(), func(tx *store.Tx) (refusal, err error) {
		if refusal, err = spend(tx, ceremonyID); err != nil || refusal != nil {
			return refusal, err
		}
		return countCode(tx, network)
	}, func(tx *store.Tx) (refusal, err error) {
		refusal = checkSentCode(tx, ceremonyID, factor.Email, code)
		switch {
		case ours(refusal):
			return nil, refusal
		case refusal != nil:
			return refusal, tx.Record(audit.Event{Name: audit.EmailConfirm, Refused: fault.From(refusal).Code})
		}
		if err := tx.Uncount(network); err != nil {
			return nil, err
		}
		return nil, then(tx)
	}, func(tx *store.Tx) error {
		if err := tx.SpendTry(ceremonyID, nil); err != nil {
			return err
		}
		_, _, err := tx.Count(network, 1<<30, throttle.SourceWindow)
		return err
	})
}
