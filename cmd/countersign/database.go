package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"countersign/internal/config"
	"countersign/internal/server"
	"countersign/internal/store/transfer"
)

type databaseMoveCmd struct {
	To     string      `long:"to" value-name:"URL" description:"URL of an empty PostgreSQL database, without a password: PGPASSWORD or a password file has it."`
	ToFile config.Path `long:"to-file" value-name:"FILE" description:"File that holds the URL."`
	Anew   bool        `long:"anew" description:"Drop what a move that did not end has copied, and begin anew."`
}

// Usage says in the help what is needed.
func (databaseMoveCmd) Usage() string { return "(--to=URL | --to-file=FILE) [--anew]" }

// target is the URL, which is in the process list unless it is in a file.
func (c databaseMoveCmd) target() (string, error) {
	if err := pair(true, "--to", c.To != "", "--to-file", c.ToFile != ""); err != nil {
		return "", err
	}
	if c.ToFile != "" {
		text, err := transfer.ReadSecret(string(c.ToFile))
		return strings.TrimSpace(text), err
	}
	u, err := url.Parse(c.To)
	if err != nil {
		return "", errors.New("--to is not like postgres://user@host/name")
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") {
		return "", errors.New("--to: everybody on this machine can read a password there: use --to-file or PGPASSWORD")
	}
	return c.To, nil
}

func (c databaseMoveCmd) Run(w *world) error {
	to, err := c.target()
	if err != nil {
		return err
	}
	d, err := w.desk(true)
	if err != nil {
		return err
	}
	done, err := d.Move(w.ctx, transfer.Move{To: to, Anew: c.Anew})
	if err != nil && w.ctx.Err() != nil {
		return errors.New("stopped: the same command goes on where it was")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "Moved: %s, %s, the same on both sides; %s.\nServers use it with `database` set to its URL, and the same keys (%s).\nThe database that it was moved from is as it was, but for a mark: nothing starts on it again unless `countersign database reopen` says so.\n",
		counted(done.Tables, "table"), counted(int(done.Rows), "row"), chainsHold(done.Chains), w.config.Keys)
	return err
}

type databaseReopenCmd struct {
	Abandon bool `long:"abandon" description:"Take your word that nobody uses the other one any more."`
}

func (c databaseReopenCmd) Run(w *world) error {
	d, err := w.desk(false)
	if err != nil {
		return err
	}
	m, err := d.Moved(w.ctx)
	if err != nil {
		return err
	}
	if !c.Abandon {
		return fmt.Errorf("the database was moved to %s at %s: what was done there since is not in this one, and two that are used at once never become one again; stop every server there, then say --abandon", m.To, at(m.At))
	}
	if err := d.Reopen(w.ctx, m); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "Reopened: the database is as it was at %s, and servers start on it again.\nWhat was done since in the one at %s is not in it: start no server there again.\n", at(m.At), m.To)
	return err
}

func chainsHold(n int) string {
	if n == 1 {
		return "1 audit chain holds"
	}
	return fmt.Sprintf("%d audit chains hold", n)
}

// desk prepares what moves, copies and restores, and tells how far it is;
// tables: of each that is copied, also where nobody watches a terminal.
func (w *world) desk(tables bool) (*transfer.Desk, error) {
	if err := w.config.Check(); err != nil {
		return nil, err
	}
	d, err := server.Transfer(*w.config, w.logger())
	if err != nil {
		return nil, err
	}
	d.Report = progress(w.err, d.Store.Now, tables)
	return d, nil
}
