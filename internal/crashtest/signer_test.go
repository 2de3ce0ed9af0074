package crashtest_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"slices"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
)

// A signer signs in by app and by recovery codes, and signs out.
type signer struct {
	person
	codes []string // unused
	spent []string
	code  string // that was sent
	among []string
	sessions
}

func (p *signer) act() (err error) {
	switch n := p.rng.IntN(10); {
	case n < 2 && len(p.codes) > 0:
		err = p.byCode()
	case n < 5 && len(p.alive) > 0:
		err = p.out(pick(p.rng, p.alive))
	case n < 7 && len(p.alive) > 1:
		err = p.others()
	case len(p.codes) < 7 && n < 9:
		err = p.newCodes()
	default:
		var token string
		if token, err = p.signIn(); err == nil {
			p.alive = append(p.alive, token)
		}
	}
	if err == nil {
		p.asked = ""
	}
	return err
}

func (p *signer) byCode() error {
	st, err := p.password()
	if err != nil {
		return err
	}
	p.code = pick(p.rng, p.codes)
	p.ask("code")
	if st, err = p.verify(st.Ceremony, "recovery_code", p.code); err != nil {
		return err
	}
	token, err := p.in(st)
	if err != nil {
		return err
	}
	p.s.promise(st.reply, p.i.ID, audit.RecoveryCodeUse, "")
	p.used()
	p.alive = append(p.alive, token)
	return nil
}

// used takes the code that was sent from the unused ones.
func (p *signer) used() {
	p.spent = append(p.spent, p.code)
	p.codes = slices.DeleteFunc(p.codes, func(c string) bool { return c == p.code })
}

// out ends one session.
func (p *signer) out(token string) error {
	p.among = []string{token}
	p.ask("out")
	r, err := p.b.send("DELETE", "/api/v1/session", "", "", token)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusNoContent {
		return fmt.Errorf("not signed out: %v", r)
	}
	p.s.promise(r, p.i.ID, audit.ConsoleSignout, "")
	p.end(slices.DeleteFunc(slices.Clone(p.alive), func(t string) bool { return t == token })...)
	return nil
}

// others ends every session but a new one.
func (p *signer) others() error {
	mine, err := p.open()
	if err != nil {
		return err
	}
	page, err := p.b.get("/security/sessions")
	if err != nil {
		return err
	}
	p.among = slices.Clone(p.alive)
	p.alive = append(p.alive, mine)
	p.ask("others")
	r, err := p.b.submit(page, "/security/sessions/end-others")
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusSeeOther || r.to() != "/security/sessions" {
		p.asked = ""
		return fmt.Errorf("the others live on: %v", r)
	}
	p.s.promise(r, p.i.ID, audit.SessionEnd, "")
	p.end(mine)
	return nil
}

// newCodes makes recovery codes in place of those that are left.
func (p *signer) newCodes() error {
	mine, err := p.open()
	if err != nil {
		return err
	}
	p.alive = append(p.alive, mine)
	page, err := p.b.get("/security/recovery-codes")
	if err != nil {
		return err
	}
	p.among = []string{mine}
	p.ask("codes")
	r, err := p.b.submit(page, "/security/recovery-codes")
	if err != nil {
		return err
	}
	if r.StatusCode == http.StatusTooManyRequests {
		return nil
	}
	if r.StatusCode != http.StatusSeeOther || r.to() != "/security/recovery-codes/new" {
		p.asked = ""
		return fmt.Errorf("no new codes: %v", r)
	}
	p.s.promise(r, p.i.ID, audit.RecoveryCodesCreate, "")
	p.asked, p.spent, p.codes = "see", append(p.spent, p.codes...), nil
	return p.see()
}

// see reads the codes that were made.
func (p *signer) see() error {
	r, err := p.b.get("/security/recovery-codes/new")
	if err != nil {
		return err
	}
	if p.codes = codesOn(r); len(p.codes) != 10 {
		return fmt.Errorf("no codes on %v", r)
	}
	return nil
}

func (p *signer) check(d *sql.DB) {
	var ended, used, made bool
	switch p.asked {
	case "out", "others":
		ended = p.either(&p.person, p.among)
	case "code":
		if used = int(p.rows(d, "recovery_code WHERE used_at = 0 AND")) == len(p.codes)-1; used {
			p.used()
		}
	case "codes", "see": // made or not, they are shown until they are saved
		p.b.carry("session", p.among[0])
		r, err := p.b.get("/security/recovery-codes/new")
		if codes := codesOn(r); err == nil && len(codes) == 10 {
			made = p.asked == "codes"
			p.spent, p.codes = append(p.spent, p.codes...), codes
		} else if err != nil || p.asked == "see" {
			p.fail("new recovery codes are not shown again: %v, %v", err, r)
		}
	}
	p.recorded(audit.ConsoleSignout, ended && p.asked == "out")
	p.recorded(audit.SessionEnd, ended && p.asked == "others")
	p.recorded(audit.RecoveryCodeUse, used)
	p.recorded(audit.RecoveryCodesCreate, made)
	p.settled()
	if n := p.rows(d, "recovery_code WHERE used_at = 0 AND"); int(n) != len(p.codes) {
		p.fail("%d recovery codes are unused, %d were promised", n, len(p.codes))
	}
	p.sessions.check(&p.person)
	if len(p.alive) > 8 {
		p.alive = p.alive[len(p.alive)-8:]
	}
	p.once(d)
	if len(p.spent) > 0 {
		st, err := p.password()
		if err == nil {
			st, err = p.verify(st.Ceremony, "recovery_code", pick(p.rng, p.spent))
		}
		none := len(p.codes) == 0 && st.Refused == policy.ErrMethod.Code
		if err != nil || st.reply.StatusCode != http.StatusUnauthorized && !none {
			p.fail("a used recovery code: %v, %v", err, st.reply)
		}
		p.spent = p.spent[max(0, len(p.spent)-20):]
	}
}
