package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/flow/imports"
	"countersign/internal/store"
)

type importU2FCmd struct {
	Args struct {
		File string `positional-arg-name:"<file>" required:"yes" description:"CSV or JSON lines, as docs/u2f-import.md describes; - for standard input."`
	} `positional-args:"yes"`
	DryRun bool `long:"dry-run" description:"Say what would be done, and do nothing."`
}

// badLinesMost is how many bad lines are listed at a time.
const badLinesMost = 50

func (c importU2FCmd) Run(w *world) error {
	in, err := opened(w, c.Args.File)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	list, bad, err := imports.Parse(in)
	if err != nil {
		return err
	}
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	f := &imports.Flow{Prover: s.SignIn.Prover}
	report, err := f.U2F(w.ctx, audit.OperatorActor("import u2f"), list, bad, c.DryRun)
	if err != nil {
		return err
	}
	if err := complaint(report.Bad); err != nil {
		return err
	}
	return c.done(w.out, report)
}

// opened is the file named, or standard input.
func opened(w *world, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(w.in), nil
	}
	return os.Open(name)
}

type importUsersCmd struct {
	Args struct {
		File string `positional-arg-name:"<file>" required:"yes" description:"CSV or JSON lines, as docs/user-import.md describes; - for standard input."`
	} `positional-args:"yes"`
	Account      string `long:"account" required:"yes" value-name:"ID" description:"Account that the users come into: its ID or alias."`
	Format       string `long:"format" default:"auto" choice:"auto" choice:"csv" choice:"json" description:"How the file is written; auto: as its first line is."`
	SkipExisting bool   `long:"skip-existing" description:"Leave users alone who are there already."`
	DryRun       bool   `long:"dry-run" description:"Say what would be done, and do nothing."`
}

// Usage says in the help what is needed.
func (importUsersCmd) Usage() string { return "--account=ID [users-OPTIONS]" }

func (c importUsersCmd) Run(w *world) error {
	in, err := opened(w, c.Args.File)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	format := imports.Format(c.Format)
	if c.Format == "auto" {
		format = imports.Either
	}
	list, bad, err := imports.ParsePeople(in, format)
	if err != nil {
		return err
	}
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	into := imports.Into{SkipExisting: c.SkipExisting, Dry: c.DryRun}
	into.Account, err = s.DB.Read(w.ctx).AccountByName(account.SignInName{Alias: strings.ToLower(c.Account)})
	if errors.Is(err, store.ErrNoRow) {
		return fmt.Errorf("there is no account %s; `countersign account list` lists them", c.Account)
	}
	if err != nil {
		return err
	}
	f := &imports.Flow{Prover: s.SignIn.Prover}
	report, err := f.Users(w.ctx, audit.OperatorActor("import users"), list, bad, into)
	if err != nil {
		return err
	}
	if err := complaint(report.Bad); err != nil {
		return err
	}
	_, err = io.WriteString(w.out, c.done(report))
	return err
}

func (c importUsersCmd) done(r imports.People) string {
	verb := " imported"
	if c.DryRun {
		verb = " can be imported"
	}
	text := counted(r.Created, "user") + verb
	var with []string
	if n := r.Passwords(); n > 0 {
		var kinds []string
		for _, kind := range slices.Sorted(maps.Keys(r.Kinds)) {
			kinds = append(kinds, fmt.Sprint(r.Kinds[kind], " ", kind))
		}
		with = append(with, fmt.Sprintf("%d with a password (%s)", n, strings.Join(kinds, ", ")))
	}
	if r.Devices > 0 {
		with = append(with, fmt.Sprintf("%d with virtual MFA", r.Devices))
	}
	if len(with) > 0 {
		text += ": " + strings.Join(with, ", ")
	}
	text += ".\n"
	if r.Skipped > 0 {
		text += fmt.Sprintf("Left alone, being there already: %d.\n", r.Skipped)
	}
	if r.Short > 0 {
		text += fmt.Sprintf("Virtual MFA with a seed of less than 160 bits, better bound anew: %d.\n", r.Short)
	}
	if r.Idle > 0 {
		text += fmt.Sprintf("Idle for longer than the account allows, and disabled in seven days unless they sign in: %d.\n", r.Idle)
	}
	if c.DryRun {
		text += "Nothing was changed.\n"
	}
	return text
}

// complaint says what is wrong, a line each; nil: nothing.
func complaint(bad []imports.Bad) error {
	if len(bad) == 0 {
		return nil
	}
	var wrong []error
	for n, b := range bad {
		if n == badLinesMost {
			wrong = append(wrong, fmt.Errorf("and %s more", counted(len(bad)-n, "bad line")))
			break
		}
		wrong = append(wrong, fmt.Errorf("line %d: %s", b.Line, b.Why))
	}
	return errors.Join(append(wrong, errors.New("nothing was imported"))...)
}

func (c importU2FCmd) done(out io.Writer, r imports.Report) error {
	what := counted(r.Keys, "key") + " of " + counted(r.Users, "user")
	if c.DryRun {
		_, err := fmt.Fprintf(out, "%s can be imported. Nothing was changed.\n", what)
		return err
	}
	_, err := fmt.Fprintf(out, "%s imported.\n", what)
	return err
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}
