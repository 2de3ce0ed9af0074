package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"countersign/internal/domain/account"
	"countersign/internal/domain/throttle"
)

type smsStatusCmd struct{}

func (smsStatusCmd) Run(w *world) error {
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	r, now := s.DB.Read(w.ctx), s.Now()
	counts, err := r.Windows("texts:country:", now)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tSENT\tOF\tUNTIL")
	line := func(what, scope string, of int) error {
		n, wait, err := r.Counted(scope, now)
		until := "-"
		if n > 0 {
			until = now.Add(wait).Format("2006-01-02 15:04 MST")
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\n", what, n, of, until)
		return err
	}
	if err := line("codes in a day", throttle.SendScope, w.config.SendCeiling); err != nil {
		return err
	}
	if err := line("text messages in a day", throttle.TextScope, w.config.SMS.Ceiling); err != nil {
		return err
	}
	slices.SortFunc(counts, func(a, b throttle.Window) int { return cmp.Compare(b.Counted, a.Counted) })
	for _, c := range counts {
		if err := line("  to "+strings.TrimPrefix(c.Scope, "texts:country:"), c.Scope, w.config.SMS.CountryCeiling); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	alarms, err := r.Windows("alarm:", now)
	if err != nil {
		return err
	}
	for _, a := range alarms {
		fmt.Fprintf(w.out, "ALARM: the limit of %s is reached; nothing more is sent until %s.\n", strings.TrimPrefix(a.Scope, "alarm:"), a.Ends.Format("2006-01-02 15:04 MST"))
	}
	if len(alarms) == 0 {
		fmt.Fprintln(w.out, "No limit is reached.")
	}
	return nil
}

type smsTestCmd struct {
	Args struct {
		To string `positional-arg-name:"<to>" required:"yes" description:"Number with its country code, like +4915123456789."`
	} `positional-args:"yes"`
}

func (c smsTestCmd) Run(w *world) error {
	number, err := account.ParsePhone("", c.Args.To)
	if err != nil {
		return err
	}
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if err := s.TestText(w.ctx, number); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "The provider has taken charge of a text message to %s.\n", number.Mask())
	return err
}
