package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"countersign/internal/server"
	"countersign/internal/store/transfer"
)

type databaseCmd struct {
	Move databaseMoveCmd `cmd:"" help:"Move the database to PostgreSQL, and compare every row."`
}

type databaseMoveCmd struct {
	To     string `required:"" xor:"to" help:"URL of an empty PostgreSQL database, without a password: PGPASSWORD or a password file has it." placeholder:"URL" env:"-"`
	ToFile string `required:"" xor:"to" type:"path" help:"File that holds the URL." placeholder:"FILE" env:"-"`
	Anew   bool   `help:"Drop what a move that did not end has copied, and begin anew." env:"-"`
}

// target is the URL, which is in the process list unless it is in a file.
func (c databaseMoveCmd) target() (string, error) {
	if c.ToFile != "" {
		text, err := transfer.ReadSecret(c.ToFile)
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
	_, err = fmt.Fprintf(w.out, "Moved: %s, %s, the same on both sides; %s.\nServers use it with `database` set to its URL, and the same keys (%s).\nThe database that it was moved from is as it was: start no server on it again.\n",
		counted(done.Tables, "table"), counted(int(done.Rows), "row"), chainsHold(done.Chains), w.config.Keys)
	return err
}

func chainsHold(n int) string {
	if n == 1 {
		return "1 audit chain holds"
	}
	return fmt.Sprintf("%d audit chains hold", n)
}

// desk prepares what moves, copies and restores. Where nobody watches a
// terminal only what was asked for is told: lines.
func (w *world) desk(lines bool) (*transfer.Desk, error) {
	if err := w.config.Check(); err != nil {
		return nil, err
	}
	d, err := server.Transfer(*w.config, w.logger())
	if err != nil {
		return nil, err
	}
	switch f, ok := w.err.(*os.File); {
	case ok && isTerminal(f):
		d.Report = (&bar{to: w.err}).draw
	case lines:
		d.Report = func(r transfer.Report) {
			if r.Ended && r.Phase == transfer.Copying {
				fmt.Fprintf(w.err, "%s: %s\n", r.Table, counted(int(r.Rows), "row"))
			}
		}
	}
	return d, nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// A bar is one line of a terminal that says how far it is.
type bar struct {
	to   io.Writer
	last string
}

const barWidth = 30

func (b *bar) draw(r transfer.Report) {
	line := fmt.Sprintf("%s %s: %s", r.Phase, r.Table, counted(int(r.Rows), "row"))
	if r.OfAll > 0 {
		full := int(r.Total * barWidth / r.OfAll)
		line = fmt.Sprintf("%s [%s%s] %3d%%  %s", r.Phase, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), r.Total*100/r.OfAll, r.Table)
	}
	if line == b.last {
		return
	}
	b.last = line
	fmt.Fprintf(b.to, "\r\x1b[2K%s", line)
	if r.Ended && r.Phase != transfer.Copying || r.Ended && r.Total == r.OfAll {
		fmt.Fprint(b.to, "\r\x1b[2K") // the next one, or the end, begins on a clean line
		b.last = ""
	}
}
