package crashtest_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
)

// A keeper is an owner who disables users and enables them again, ends their
// sessions, makes users and deletes them.
type keeper struct {
	person
	subjects []*subject
	made     []string // users by name
	gone     []string
	count    int

	about *subject // of what was asked
	name  string   // of a user that is made or deleted
}

// A subject is a user of whom a keeper disposes.
type subject struct {
	person
	enabled bool
	sessions
}

func (p *keeper) act() error {
	if !p.b.has("session") {
		if _, err := p.open(); err != nil {
			return err
		}
	}
	one := pick(p.rng, p.subjects)
	var err error
	switch n := p.rng.IntN(10); {
	case n < 2:
		err = p.make()
	case n < 3 && len(p.made) > 0:
		err = p.remove(pick(p.rng, p.made))
	case !one.enabled:
		err = p.enable(one)
	case n < 6:
		err = p.enter(one)
	case n < 8:
		err = p.end(one)
	default:
		err = p.disable(one)
	}
	if err == nil {
		p.asked = ""
	}
	return err
}

// enter signs a subject in.
func (p *keeper) enter(one *subject) error {
	one.b = p.s.browser(p.s.network(one.number))
	token, err := one.signIn()
	if err == nil {
		one.alive = append(one.alive, token)
	}
	return err
}

// post fills the form of a page, and verifies where that is asked for.
func (p *keeper) post(asked, page, action, lead string, fill ...string) (reply, error) {
	form, err := p.b.get(page)
	if err != nil {
		return form, err
	}
	p.ask(asked)
	r, err := p.b.submit(form, action, fill...)
	if err == nil {
		r, err = p.confirmed(r)
	}
	if err != nil {
		return r, err
	}
	if r.StatusCode != http.StatusSeeOther || r.to() != lead {
		p.asked = ""
		return r, fmt.Errorf("%s: %v", asked, r)
	}
	return r, nil
}

func (p *keeper) disable(one *subject) error {
	path := "/console/users/" + string(one.i.ID)
	p.about = one
	r, err := p.post("disable", path+"/disable", path+"/disable", path+"/authentication")
	if err != nil {
		return err
	}
	p.s.promise(r, one.i.ID, audit.ProfileUpdate, "")
	one.enabled = false
	one.end()
	return nil
}

func (p *keeper) enable(one *subject) error {
	path := "/console/users/" + string(one.i.ID)
	p.about = one
	r, err := p.post("enable", path+"/signin", path+"/signin", path+"/authentication", "way", "keep")
	if err != nil {
		return err
	}
	p.s.promise(r, one.i.ID, audit.ProfileUpdate, "")
	one.enabled = true
	return nil
}

func (p *keeper) end(one *subject) error {
	path := "/console/users/" + string(one.i.ID) + "/sessions"
	p.about = one
	r, err := p.post("end", path+"/end", path+"/end", path)
	if err != nil {
		return err
	}
	if len(one.alive) > 0 { // else there is nothing to record
		p.s.promise(r, one.i.ID, audit.SessionEnd, "")
	}
	one.end()
	return nil
}

func (p *keeper) make() error {
	p.count++
	p.name = fmt.Sprintf("made-%d-%d", p.number, p.count)
	r, err := p.post("make", "/console/users/new", "/console/users/new", "/console/shown", "name", p.name, "role", "user")
	if err != nil {
		return err
	}
	p.s.promise(r, "", audit.UserCreate, "")
	p.made = append(p.made, p.name)
	return nil
}

func (p *keeper) remove(name string) error {
	list, err := p.b.get("/console/users?q=" + name)
	if err != nil {
		return err
	}
	row := regexp.MustCompile(`href="(/console/users/[0-9a-z]{26})">` + name + `</a>`).FindStringSubmatch(list.body)
	if row == nil {
		return fmt.Errorf("no %s on %v", name, list)
	}
	p.name = name
	path := row[1] + "/delete"
	r, err := p.post("remove", path, path, "/console/users")
	if err != nil {
		return err
	}
	p.s.promise(r, "", audit.UserDelete, "")
	p.removed()
	return nil
}

func (p *keeper) removed() {
	p.gone = append(p.gone, p.name)
	p.made = slices.DeleteFunc(p.made, func(n string) bool { return n == p.name })
}

func (p *keeper) check(d *sql.DB) {
	there := func(name string) bool {
		return p.s.number(d, "SELECT count(*) FROM identity WHERE account_id = $1 AND name = $2", p.i.Account, name) == 1
	}
	switch {
	case p.asked == "make" && there(p.name):
		p.made = append(p.made, p.name)
		p.told(audit.UserCreate)
	case p.asked == "remove" && !there(p.name):
		p.removed()
		p.told(audit.UserDelete)
	}
	for _, name := range p.made {
		if !there(name) {
			p.fail("%s is lost", name)
		}
	}
	for _, name := range p.gone {
		if there(name) {
			p.fail("%s is back", name)
		}
	}
	also := pick(p.rng, p.subjects)
	for _, one := range p.subjects {
		one.b = p.s.browser(p.s.network(one.number))
		asked := ""
		if p.about == one {
			asked = p.asked
		}
		one.check(d, asked)
		if one == also || asked != "" {
			one.tries()
		}
	}
	p.settled()
	p.once(d)
}

// told looks for the event of what was done to the user named.
func (p *keeper) told(name audit.Name) {
	p.s.made[string(name)]++
	for _, e := range p.s.recorded {
		if user, _, _ := strings.Cut(e.Details["user"], "@"); e.Name == name && e.Account == p.i.Account && user == p.name {
			return
		}
	}
	p.fail("%s of %s is not recorded", name, p.name)
}

// check looks at a subject; asked is what may have happened to it.
func (p *subject) check(d *sql.DB, asked string) {
	p.s.t.Helper()
	enabled := p.rows(d, "login_profile WHERE state = '"+string(account.ProfileActive)+"' AND") == 1
	p.recorded(audit.ProfileUpdate, enabled != p.enabled)
	switch asked {
	case "disable":
		if ended := p.either(&p.person, p.alive); len(p.alive) > 0 && ended == enabled {
			p.fail("enabled: %v, sessions ended: %v", enabled, ended)
		}
		p.enabled = enabled
	case "enable":
		p.enabled = enabled
	case "end":
		if p.either(&p.person, p.alive) && p.s.unanswered(p.i.ID, audit.SessionEnd) < 1 {
			p.fail("the sessions have ended, and nothing is recorded")
		}
	}
	if enabled != p.enabled {
		p.fail("enabled: %v, promised: %v", enabled, p.enabled)
	}
	p.sessions.check(&p.person)
}

// tries signs in, as far as that is to be possible.
func (p *subject) tries() {
	p.s.t.Helper()
	st, err := p.password()
	switch {
	case err != nil:
		p.fail("%v", err)
	case p.enabled:
		if _, err := p.in(st); err != nil {
			p.fail("%v", err)
		}
	case st.Refused != policy.ErrDisabled.Code:
		p.fail("a disabled user: %v", st.reply)
	}
}
