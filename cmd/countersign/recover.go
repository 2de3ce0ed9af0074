package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/flow/recovery"
	"countersign/internal/server"
	"countersign/internal/store"
)

type accountRecoverCmd struct {
	Email  string        `long:"email" value-name:"ADDRESS" description:"Address that the owner signs in with."`
	User   string        `long:"user" value-name:"NAME" description:"Name of the RAM user: name@alias.suffix, or name@alias."`
	Wait   time.Duration `long:"wait" default:"24h" description:"How long the ticket waits before it works, 1h to 720h."`
	Cancel bool          `long:"cancel" description:"Cancel the recovery that is under way."`
	Status bool          `long:"status" description:"Say whether a recovery is under way."`
}

// Usage says in the help what is needed.
func (accountRecoverCmd) Usage() string {
	return "(--email=ADDRESS | --user=NAME) [recover-OPTIONS]"
}

// instants are written for operators with their zone.
const instants = "2006-01-02 15:04 MST"

func (c accountRecoverCmd) Run(w *world) error {
	if err := errors.Join(pair(true, "--email", c.Email != "", "--user", c.User != ""), pair(false, "--cancel", c.Cancel, "--status", c.Status)); err != nil {
		return err
	}
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	i, err := c.identity(w, s)
	if err != nil {
		return err
	}
	f := &recovery.Flow{Prover: s.SignIn.Prover, Hasty: w.config.Dev}
	switch {
	case c.Status:
		e, err := f.State(w.ctx, i)
		if errors.Is(err, recovery.ErrNone) {
			_, err = fmt.Fprintf(w.out, "No recovery of %s is under way.\n", i.Name())
			return err
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w.out, "The recovery of %s was begun at %s.\nIts ticket works from %s until %s.\n", i.Name(), at(e.CreatedAt), at(e.OpensAt), at(e.ExpiresAt))
		return err
	case c.Cancel:
		if err := f.Withdraw(w.ctx, audit.OperatorActor("account recover --cancel"), i); err != nil {
			return err
		}
		_, err = fmt.Fprintf(w.out, "The recovery of %s is cancelled; whoever was told of it is told of this too.\n", i.Name())
		return err
	}
	started, err := f.Start(w.ctx, audit.OperatorActor("account recover"), i, c.Wait)
	if err != nil {
		return err
	}
	return c.report(w, i, started)
}

// identity finds whom the command is about.
func (c accountRecoverCmd) identity(w *world, s *server.Server) (i account.Identity, err error) {
	r := s.DB.Read(w.ctx)
	if c.Email != "" {
		if i, err = r.IdentityByEmail(c.Email); errors.Is(err, store.ErrNoRow) {
			err = fmt.Errorf("no owner signs in as %s; `countersign account list` lists them", c.Email)
		}
		return i, err
	}
	name, err := account.ParseSignInName(c.User, "", w.config.RAMSuffix), store.ErrNoRow
	if !name.IsZero() {
		i, err = r.IdentityBySignInName(name)
	}
	if errors.Is(err, store.ErrNoRow) {
		err = fmt.Errorf("no RAM user signs in as %s; the name is like name@alias.%s", c.User, w.config.RAMSuffix)
	}
	return i, err
}

func at(t time.Time) string { return t.UTC().Format(instants) }

// report prints the ticket, which nobody sees again, and what follows.
func (c accountRecoverCmd) report(w *world, i account.Identity, s recovery.Started) error {
	who, door := "--email "+c.Email, "/signin"
	if c.User != "" {
		who, door = "--user "+c.User, "/signin/ram"
	}
	var told []string
	for _, to := range s.Told {
		told = append(told, recovery.Masked(to)+map[message.Channel]string{message.Email: " (mail)", message.SMS: " (text message)"}[to.Channel])
	}
	p := &strings.Builder{}
	fmt.Fprintf(p, "The recovery of %s has begun.\n\n", i.Name())
	fmt.Fprintf(p, "ticket  %s (shown this once)\n", s.Ticket)
	fmt.Fprintf(p, "works   from %s until %s\n", at(s.OpensAt), at(s.ExpiresAt))
	fmt.Fprintf(p, "told    %s\n\n", strings.Join(told, ", "))
	if s.ToldOwner {
		fmt.Fprintf(p, "No address of the user is known: the owner of the account was told.\n")
	}
	if s.Again {
		fmt.Fprintf(p, "The one that was under way is void, and its ticket and link with it.\n")
	}
	if w.config.SMTP.Address == "" && !w.config.Dev {
		fmt.Fprintf(p, "No mail server is configured (smtp_address): the mail waits in the outbox. Tell them yourself.\n")
	}
	fmt.Fprintf(p, "Make sure whom you give the ticket to. At %s%s it leads, after the password, to a new device.\n", w.config.PublicURL, door)
	fmt.Fprintf(p, "A sign-in without it cancels the recovery, and so does the link in the mail, or: countersign account recover %s --cancel\n", who)
	_, err := fmt.Fprint(w.out, p.String())
	return err
}
