package imports

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/secret"
)

// PeopleMax is how many people a file has at most: one write takes them all.
const PeopleMax = 10_000

// A Person is a RAM user as a file describes it.
type Person struct {
	Line                               int
	Name, DisplayName, Email, Comments string
	Role                               account.Role
	State                              account.ProfileState

	Hash, Kind  string // of the password, in the form in which it is kept; empty: none
	MustChange  bool   // at the next sign-in
	MFARequired bool
	Seed        []byte // of a virtual MFA device; nil: none

	Created, LastSignIn, PasswordSet time.Time // zero: not said
}

// peopleForm is a file of people, of whom the name alone must be given.
var peopleForm = form{noun: "people", most: PeopleMax, columns: []column{
	{name: "name"}, {name: "display_name", optional: true}, {name: "role", optional: true}, {name: "email", optional: true}, {name: "comments", optional: true},
	{name: "state", optional: true}, {name: "password_hash", optional: true}, {name: "must_change", optional: true, bare: true}, {name: "mfa_required", optional: true, bare: true},
	{name: "otpauth", optional: true}, {name: "created", optional: true}, {name: "last_signin", optional: true}, {name: "password_changed", optional: true},
}}

// ParsePeople reads a file of people. The error is about the file as a whole.
func ParsePeople(r io.Reader, format Format) (list []Person, bad []Bad, err error) {
	seen := map[string]int{} // names, and the lines they stand in
	bad, err = peopleForm.each(r, format, func(number int, line fields) error {
		p, err := readPerson(line)
		if err != nil {
			return err
		}
		key := account.UserNameKey(p.Name)
		if before, twice := seen[key]; twice {
			return fmt.Errorf("name is that of line %d", before)
		}
		p.Line = number
		seen[key] = number
		list = append(list, p)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return list, bad, nil
}

func readPerson(f fields) (p Person, err error) {
	if p.Name, err = account.ParseUserName(f["name"]); err != nil {
		return p, fmt.Errorf("name is not 1 to %d letters (a to z), digits, dots, underscores and hyphens", account.UserNameMax)
	}
	for _, text := range []struct {
		into *string
		name string
		most int
	}{{&p.DisplayName, "display_name", account.DisplayNameMax}, {&p.Comments, "comments", account.CommentsMax}} {
		if *text.into, err = account.ParseLine(f[text.name], text.most, account.ErrComments); err != nil {
			return p, fmt.Errorf("%s is longer than %d characters, or has some that nobody sees", text.name, text.most)
		}
	}
	if f["email"] != "" {
		if p.Email, err = account.ParseEmail(f["email"]); err != nil {
			return p, errors.New("email is no address")
		}
	}
	if p.Role = account.User; f["role"] != "" {
		if p.Role, err = account.ParseRole(strings.ToLower(f["role"])); err != nil {
			return p, errors.New("role is none of administrator, auditor and user")
		}
	}
	if err := p.readTimes(f); err != nil {
		return p, err
	}
	return p, p.readSignIn(f)
}

// A namedTime is a time of a person, and its column.
type namedTime struct {
	name string
	*time.Time
}

func (p *Person) times() []namedTime {
	return []namedTime{{"created", &p.Created}, {"last_signin", &p.LastSignIn}, {"password_changed", &p.PasswordSet}}
}

func (p *Person) readTimes(f fields) error {
	for _, into := range p.times() {
		text := f[into.name]
		if text == "" {
			continue
		}
		if len(text) == len(time.DateOnly) {
			text += "T00:00:00Z"
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil || t.Year() < 1970 || t.Unix() <= 0 {
			return fmt.Errorf("%s is not a time like 2026-03-02 or 2026-03-02T09:30:00Z", into.name)
		}
		*into.Time = t.UTC()
	}
	return nil
}

// readSignIn reads what the person proves itself with, and what goes with it.
func (p *Person) readSignIn(f fields) (err error) {
	if p.MustChange, err = yes(f, "must_change"); err != nil {
		return err
	}
	if p.MFARequired, err = yes(f, "mfa_required"); err != nil {
		return err
	}
	if f["otpauth"] != "" {
		if p.Seed, err = parseSeed(f["otpauth"]); err != nil {
			return err
		}
	}
	state := strings.ToLower(f["state"])
	switch state {
	case "", "none", string(account.ProfileActive), string(account.ProfileInactive):
	default:
		return errors.New("state is none of active, inactive and none")
	}
	if f["password_hash"] == "" {
		if state != "" && state != "none" || p.MustChange || p.MFARequired || !p.PasswordSet.IsZero() {
			return errors.New("password_hash is missing: state, must_change, mfa_required and password_changed are about the sign-in with it")
		}
		return nil
	}
	if p.Hash, p.Kind, err = secret.Foreign(f["password_hash"]); err != nil {
		return fmt.Errorf("password_hash %w", err)
	}
	switch state {
	case "none":
		return errors.New("state is none, and yet there is a password_hash")
	case string(account.ProfileInactive):
		p.State = account.ProfileInactive
	default:
		p.State = account.ProfileActive
	}
	return nil
}

func yes(f fields, name string) (bool, error) {
	switch strings.ToLower(f[name]) {
	case "", "no", "false", "0":
		return false, nil
	case "yes", "true", "1":
		return true, nil
	}
	return false, fmt.Errorf("%s is neither yes nor no", name)
}
