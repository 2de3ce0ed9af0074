// Package doctor looks at what a server stands on, part by part, and says
// that it is right or what to do about it. It changes nothing.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"countersign/internal/config"
	"countersign/internal/front/request"
	"countersign/internal/secret"
	"countersign/internal/store"
)

// A State says how bad it is.
type State string

// The states.
const (
	OK   State = "OK"
	Warn State = "WARN" // works, and somebody should know
	Fail State = "FAIL"
)

// A Finding is a line of the report.
type Finding struct {
	State State  `json:"state"`
	Part  string `json:"part"`
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"`
}

// within bounds the look at one part.
const within = 20 * time.Second

// A Doctor looks at one server's surroundings.
type Doctor struct {
	Config config.Config // that was checked
	Nodes  int           // that share the database
	SendTo string        // address that a mail is sent to; empty: none is
	Now    func() time.Time

	keys    *secret.Keyring // nil: they cannot be read
	keysErr error
	db      *store.Inspection // nil: cannot be opened
	dbErr   error
	seen    *request.Seen // nil: our server did not answer
	clocks  []other
	found   []Finding
}

// An other is a clock beside ours.
type other struct {
	whose string
	ahead time.Duration
	fine  time.Duration // how exactly that is known
}

// Examine looks at every part.
func (d *Doctor) Examine(ctx context.Context) []Finding {
	if d.Now == nil {
		d.Now = time.Now
	}
	d.Nodes = max(d.Nodes, 1)
	defer func() {
		if d.db != nil {
			_ = d.db.Close()
		}
	}()
	for _, look := range []func(context.Context){d.open, d.lookKeys, d.lookDatabase, d.lookDisk, d.lookAudit, d.lookMail, d.lookTexts, d.lookURL, d.lookPlain, d.lookTrusted, d.lookProxy, d.lookPasskeys, d.lookClock} {
		limited, cancel := context.WithTimeout(ctx, within)
		look(limited)
		cancel()
	}
	return d.found
}

func (d *Doctor) say(state State, part, do, format string, args ...any) {
	d.found = append(d.found, Finding{State: state, Part: part, Text: d.clean(fmt.Sprintf(format, args...)), Do: do})
}

func (d *Doctor) ok(part, format string, args ...any) { d.say(OK, part, "", format, args...) }

// clean puts what others said on one line, and takes out of it what must not
// be printed: nobody knows what goes into the errors of other people's code.
func (d *Doctor) clean(text string) string {
	c := &d.Config
	secrets := []string{c.SMTP.Password, c.SMS.Secret, c.SMS.Key}
	if _, value, ok := strings.Cut(c.SMS.Header, ":"); ok {
		secrets = append(secrets, strings.TrimSpace(value))
	}
	if u, err := url.Parse(c.Database); err == nil {
		if password, ok := u.User.Password(); ok {
			secrets = append(secrets, password, url.QueryEscape(password), url.PathEscape(password))
		}
		secrets = append(secrets, u.Query().Get("password"))
	}
	if u, err := url.Parse(c.SMS.URL); err == nil && c.SMS.Provider == "hook" {
		secrets = append(secrets, strings.TrimPrefix(u.RequestURI(), "/"))
	}
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, s := range secrets {
		if len(s) > 3 {
			text = strings.ReplaceAll(text, s, "…")
		}
	}
	return strings.Join(strings.Fields(text), " ")
}
