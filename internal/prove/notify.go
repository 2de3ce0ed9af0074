package prove

import (
	"context"
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/domain/throttle"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// NotMeLifetime is how long the link "This wasn't me" of a notice is good.
const NotMeLifetime = 30 * 24 * time.Hour

// noticeWindow is how long one notice stands for all of a kind that can be
// many; the digest follows.
const noticeWindow = 24 * time.Hour

// phoneNoticesPerDay bounds the notices that go to one phone.
const phoneNoticesPerDay = 10

// tellOfFailure mails the owner about a right password with a wrong second
// step: once a day, so that an attack sends one mail, and once more when the
// budget is empty.
func (p *Prover) tellOfFailure(tx *store.Tx, v Visitor, i account.Identity, a attempt) error {
	b, _, err := tx.Budget(i.Account, i.ID)
	if err != nil {
		return err
	}
	kind := message.SecondStepFailed
	if a.charge.TookToken && b.Left == 0 {
		kind = message.BudgetEmpty
		if err := tx.Record(audit.Event{Account: i.Account, Name: audit.CodeBudgetEmpty, Identity: i.ID}); err != nil {
			return err
		}
	}
	if kind == message.SecondStepFailed && a.confirming {
		return nil // whoever confirms an address mistypes now and then
	}
	return p.notifyOnce(tx, v, i, kind)
}

// notifyOnce is Notify once a day; what comes after is counted for a digest.
func (p *Prover) notifyOnce(tx *store.Tx, v Visitor, i account.Identity, kind message.Kind) error {
	told := "told:" + string(kind) + ":" + string(i.ID)
	first, wait, err := tx.Count(told, 1, noticeWindow)
	switch {
	case err != nil:
		return err
	case first:
		return p.Notify(tx, v, i, kind)
	case kind.Digest() == "":
		return nil
	}
	return tx.CountForDigest(i.Account, i.ID, string(kind), v.Address.String(), tx.Now.Add(wait))
}

// Mailboxes are the addresses at which an identity is told things: the email
// of the sign-in or profile, and a user's security email.
func Mailboxes(r *store.Reader, i account.Identity) (to []message.Recipient, err error) {
	if i.Email != "" {
		to = append(to, message.Recipient{Channel: message.Email, To: i.Email})
	}
	if i.IsOwner() {
		return to, nil
	}
	e, err := SecurityEmailOf(r, i)
	if err == nil && e.ID != "" && account.EmailKey(e.Address) != account.EmailKey(i.Email) {
		to = append(to, message.Recipient{Channel: message.Email, To: e.Address})
	}
	return to, err
}

// Notify tells the identity what has happened, by mail and, where it is
// urgent, by text message to its phone; and whoever else is concerned. Its
// mails have a link for whom it was not.
func (p *Prover) Notify(tx *store.Tx, v Visitor, i account.Identity, kind message.Kind, also ...message.Recipient) error {
	c := message.Circumstances{At: tx.Now, Address: v.Address.String(), UserAgent: v.UserAgent}
	to, err := Mailboxes(tx.Peek(), i)
	if err != nil {
		return err
	}
	to = append(to, also...)
	if kind.Urgent() {
		phone, err := tx.Peek().Phone(i.Account, i.ID)
		attached, err := store.HasRow(err)
		if err != nil {
			return err
		}
		if attached {
			to = append(to, message.Recipient{Channel: message.SMS, To: string(phone.Number)})
		}
	}
	for n, r := range to {
		if slices.ContainsFunc(to[:n], func(one message.Recipient) bool {
			return one.Channel == r.Channel && account.EmailKey(one.To) == account.EmailKey(r.To)
		}) {
			continue
		}
		if r.Channel == message.SMS {
			if ok, err := p.noticeFits(tx, r.To); err != nil || !ok {
				if err != nil {
					return err
				}
				continue
			}
		} else if c.NotMe == "" && kind != message.Secured {
			if c.NotMe, err = p.notMe(tx, i, kind, c); err != nil {
				return err
			}
		}
		if err := tx.AddMessage(p.Service.Notice(i, r, kind, c)); err != nil {
			return err
		}
	}
	return nil
}

// notMe makes the link "This wasn't me" of a notice: one for all its mails. Of
// what an administrator did, it does not say from where.
func (p *Prover) notMe(tx *store.Tx, i account.Identity, kind message.Kind, c message.Circumstances) (string, error) {
	token, err := secret.NewToken(p.Random)
	if err != nil {
		return "", err
	}
	l := store.Link{Kind: store.NotMeLink, Account: i.Account, Identity: i.ID, Epoch: i.Epoch, Event: string(kind), ExpiresAt: tx.Now.Add(NotMeLifetime)}
	if !kind.Administered() {
		l.Address, l.UserAgent = c.Address, c.UserAgent
	}
	return p.Service.URL + "/notme/" + token.Reveal(), tx.AddLink(token.Hash(), l)
}

// LinkFits reports whether a mail with a link may go to whom key names, and
// counts it: apart from codes, which nobody who asks for links must use up.
func (p *Prover) LinkFits(tx *store.Tx, v Visitor, key, payer string) (fits bool, err error) {
	s := throttle.Sending{Ceremony: "link:" + key, Destination: "link:" + key, Payer: "link:" + payer, Network: throttle.Network(v.Address).String()}
	refusal, err := p.within(tx, s.Limits(p.Sending.Ceiling))
	return refusal == nil, err
}

// noticeFits reports whether a notice may go to a number, and counts it.
func (p *Prover) noticeFits(tx *store.Tx, number string) (bool, error) {
	if p.Sending.NoTexts || !p.Sending.Reaches(account.Phone(number).Country()) {
		return false, nil
	}
	ok, _, err := tx.Count("notices:"+number, phoneNoticesPerDay, 24*time.Hour)
	return ok, err
}

// digestsAtOnce bounds a run of SendDigests; the next one goes on.
const digestsAtOnce = 200

// SendDigests mails what was counted since a notice told of it, once its day
// is over, and returns how many digests went out.
func (p *Prover) SendDigests(ctx context.Context) (sent int, err error) {
	due, err := p.DB.Read(ctx).DueDigests(p.DB.Now(), digestsAtOnce)
	if err != nil {
		return 0, err
	}
	for _, d := range due {
		went := false
		err := p.DB.Write(ctx, audit.Housekeeping("digest"), func(tx *store.Tx) error {
			i, err := tx.Identity(d.Identity)
			if err != nil {
				return err
			}
			taken, err := tx.TakeDigest(d.Account, d.Identity, d.Kind)
			went = taken.Count > 0
			if err != nil || !went {
				return err // another node was first
			}
			return p.sendDigest(tx, i, taken)
		})
		if gone, err := store.HasRow(err); err != nil || !gone { // an identity that is no more took its counts along
			if err != nil {
				return sent, err
			}
			continue
		}
		if went {
			sent++
		}
	}
	return sent, nil
}

func (p *Prover) sendDigest(tx *store.Tx, i account.Identity, d store.Digest) error {
	kind := message.Kind(d.Kind)
	to, err := Mailboxes(tx.Peek(), i)
	if err != nil || len(to) == 0 {
		return err
	}
	again := message.Again{Count: d.Count, From: d.From, FirstAt: d.FirstAt, LastAt: d.LastAt}
	c := message.Circumstances{At: d.LastAt, Address: d.From[0]}
	if again.NotMe, err = p.notMe(tx, i, kind, c); err != nil {
		return err
	}
	for _, r := range to {
		if err := tx.AddMessage(p.Service.Digest(i, r, kind, again)); err != nil {
			return err
		}
	}
	return nil
}
