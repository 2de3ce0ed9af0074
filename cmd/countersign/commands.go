package main

import (
	"bufio"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"countersign/internal/config"
	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/message"
	"countersign/internal/domain/throttle/simulation"
	"countersign/internal/server"
	"countersign/internal/store"
)

type serveCmd struct{}

func (serveCmd) Run(w *world) error {
	if err := w.config.Check(); err != nil {
		return err
	}
	hurried()
	if err := server.Await(w.ctx, *w.config, w.logger()); err != nil {
		return err
	}
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if err := s.Build(w.out); err != nil {
		return err
	}
	l, err := s.Listen()
	if err != nil {
		return err
	}
	if w.config.Dev {
		fmt.Fprintln(w.out, "Development mode: nothing is really sent, and the clock can be moved. For this machine only.")
		fmt.Fprintf(w.out, "Messages: %s/dev/outbox\n", w.config.PublicURL)
		if ahead := s.Clock().Ahead(); ahead > 0 {
			fmt.Fprintf(w.out, "The clock is %s ahead; delete %s/dev-clock to go back to the present.\n", ahead, w.config.Data)
		}
	} else if w.config.SMTP.Address == "" {
		fmt.Fprintln(w.err, "countersign: no mail server is configured (smtp_address): codes cannot be sent")
	}
	if off := w.config.PasskeysOff(); off != "" {
		fmt.Fprintf(w.err, "countersign: %s\n", off)
	}
	fmt.Fprintf(w.out, "Countersign is at %s\n", w.config.PublicURL)
	setup, err := s.SetupURL(w.ctx)
	if err != nil {
		return err
	}
	if setup != "" {
		fmt.Fprintf(w.out, "Create the first account (link works once, for 24 hours): %s\n", setup)
	}
	defer time.AfterFunc(settling, settle).Stop()
	return s.Serve(w.ctx, l)
}

type accountCreateCmd struct {
	Email         string `long:"email" value-name:"ADDRESS" required:"yes" description:"Address that the owner signs in with."`
	PasswordStdin bool   `long:"password-stdin" required:"yes" description:"Read the password from standard input: its first line."`
	Verified      bool   `long:"verified" description:"Take your word that the address is the owner's."`
}

// Usage says in the help what is needed.
func (accountCreateCmd) Usage() string { return "--email=ADDRESS --password-stdin [--verified]" }

func (c accountCreateCmd) Run(w *world) error {
	line, err := bufio.NewReader(w.in).ReadString('\n')
	if err != nil && line == "" {
		return fmt.Errorf("read the password: nothing on standard input")
	}
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	a, err := s.SignUp.Create(w.ctx, c.Email, strings.TrimPrefix(strings.TrimRight(line, "\r\n"), "\ufeff"), c.Verified)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "Account %s created; its owner signs in as %s at %s/signin\n", a.ID, c.Email, w.config.PublicURL)
	return err
}

type accountListCmd struct{}

func (accountListCmd) Run(w *world) error {
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	t := tabwriter.NewWriter(w.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ACCOUNT\tOWNER\tEMAIL\tVIRTUAL MFA\tCREATED")
	r := s.DB.Read(w.ctx)
	err = r.EachOwner(func(a account.Account, i account.Identity) error {
		confirmed := "unconfirmed"
		if !i.EmailConfirmedAt.IsZero() {
			confirmed = "confirmed"
		}
		mfa, err := r.HasVirtualMFA(a.ID, i.ID)
		if err != nil {
			return err
		}
		state := "off"
		if mfa {
			state = "on"
		}
		_, err = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", a.ID, i.Email, confirmed, state, a.CreatedAt.Format("2006-01-02 15:04 MST"))
		return err
	})
	if err != nil {
		return err
	}
	return t.Flush()
}

type keyRotateCmd struct{}

func (keyRotateCmd) Run(w *world) error {
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	id, err := s.Keys().Rotate(s.Now())
	if err != nil {
		return err
	}
	actor := audit.OperatorActor("key rotate")
	err = s.DB.Write(w.ctx, actor, func(tx *store.Tx) error {
		return tx.Record(audit.Event{Name: audit.KeyRotate, Target: fmt.Sprint(id)})
	})
	if err != nil {
		return err
	}
	n, err := s.DB.Reseal(func(f func(tx *store.Tx) error) error {
		return s.DB.Write(w.ctx, actor.Quietly(), f)
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "Key %d seals from now on; %d secrets sealed anew. A running server takes it up within a minute.\nKeep the older keys in %s: they still check what was recorded.\n", id, n, w.config.Keys)
	return err
}

type outboxListCmd struct {
	All bool `long:"all" description:"Messages in every state."`
}

func (c outboxListCmd) Run(w *world) error {
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	state := message.Dead
	if c.All {
		state = ""
	}
	list, err := s.DB.Read(w.ctx).Messages(state, 200)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tCREATED\tKIND\tTO\tSTATE\tATTEMPTS\tREASON")
	for _, m := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", m.ID, m.CreatedAt.Format("2006-01-02 15:04:05"), m.Kind, masked(m), m.State, m.Attempts, m.LastError)
	}
	return t.Flush()
}

func masked(m message.Message) string {
	if m.Channel == message.SMS {
		return account.Phone(m.To).Mask()
	}
	return account.MaskEmail(m.To)
}

type outboxRetryCmd struct {
	Args struct {
		ID string `positional-arg-name:"<id>" required:"yes" description:"Id of the message."`
	} `positional-args:"yes"`
}

func (c outboxRetryCmd) Run(w *world) error {
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if err := s.DB.RetryMessage(w.ctx, audit.OperatorActor("outbox retry"), c.Args.ID); err != nil {
		return fmt.Errorf("no message %s was given up", c.Args.ID)
	}
	_, err = fmt.Fprintln(w.out, "Queued again; a running server sends it.")
	return err
}

type configCheckCmd struct{}

func (configCheckCmd) Run(w *world) error {
	if err := w.config.Check(); err != nil {
		return err
	}
	database := "SQLite, " + w.config.DatabaseURL()
	if w.config.Database != "" {
		database = "PostgreSQL"
	}
	mail := "none: codes cannot be sent"
	switch {
	case w.config.Dev:
		mail = "the development outbox"
	case w.config.SMTP.Address != "":
		mail = w.config.SMTP.Address + " (" + w.config.SMTP.TLS + ")"
	}
	texts := "none: text messages cannot be sent"
	switch {
	case w.config.SMS.Provider != "":
		texts = w.config.SMS.Provider + " (to " + strings.Join(w.config.SMS.Countries, ", ") + ")"
	case w.config.Dev:
		texts = "the development outbox"
	}
	passkeys, err := passkeysChecked(w.config)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "The settings are right.\nlisten      %s\npublic url  %s\ndatabase    %s\nkeys        %s\nmail        %s\ntexts       %s\npasskeys    %s\nram users   name@alias.%s\n", w.config.Listen, w.config.PublicURL, database, w.config.Keys, mail, texts, passkeys, w.config.RAMSuffix)
	return err
}

// passkeysChecked says what passkeys belong to, after a look into the metadata.
func passkeysChecked(c *config.Config) (string, error) {
	if off := c.PasskeysOff(); off != "" {
		return strings.TrimPrefix(off, "passkeys are "), nil
	}
	line := "of " + c.Passkey.RPID
	if c.Passkey.Attestation == "direct" {
		line += ", with attestation"
	}
	if c.Passkey.Metadata != "" {
		_, until, err := server.Metadata(c.Passkey.Metadata)
		if err != nil {
			return "", err
		}
		line += ", metadata until " + until.Format("2006-01-02")
	}
	return line, nil
}

type guessingCmd struct {
	Seed  uint64 `long:"seed" default:"1" description:"Seed of the random numbers."`
	Years int    `long:"years" description:"Account-years for each rule. Default: as many as take seconds."`
}

func (c guessingCmd) Run(w *world) error {
	cfg := simulation.Default()
	cfg.Seed = c.Seed
	if c.Years > 0 {
		cfg.AccountYears = c.Years
	}
	return simulation.Write(w.out, simulation.Table(cfg))
}
