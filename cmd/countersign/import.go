package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"countersign/internal/domain/audit"
	"countersign/internal/flow/imports"
)

type importCmd struct {
	U2F importU2FCmd `cmd:"" name:"u2f" help:"Bind security keys of the old type (U2F) that a file describes."`
}

type importU2FCmd struct {
	File   string `arg:"" help:"CSV or JSON lines, as docs/u2f-import.md describes; - for standard input."`
	DryRun bool   `help:"Say what would be done, and do nothing." env:"-"`
}

// badLinesMost is how many bad lines are listed at a time.
const badLinesMost = 50

func (c importU2FCmd) Run(w *world) error {
	in := w.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
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
