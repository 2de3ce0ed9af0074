package main

import (
	"errors"
	"fmt"
	"time"

	"countersign/internal/config"
	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/store"
)

type auditExportCmd struct {
	Account string `long:"account" value-name:"ID" description:"Of this account alone; 0 for what concerns no account."`
	Format  string `long:"format" default:"jsonl" choice:"jsonl" choice:"csv" description:"jsonl (an object a line) or csv."`
	Since   string `long:"since" value-name:"TIME" description:"From this instant on, UTC: 2026-03-02 or 2026-03-02T09:30:00Z."`
	Until   string `long:"until" value-name:"TIME" description:"Before this instant."`
}

func (c auditExportCmd) Run(w *world) error {
	var q store.AuditQuery
	var err error
	if q.From, err = instantOf(c.Since); err != nil {
		return err
	}
	if q.Until, err = instantOf(c.Until); err != nil {
		return err
	}
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	r := s.DB.Read(w.ctx)
	if _, err := chainsOf(r, c.Account); c.Account != "" && err != nil {
		return err
	}
	// That it was taken out is written down where it was taken from.
	details := map[string]string{"format": c.Format}
	for name, t := range map[string]time.Time{"since": q.From, "until": q.Until} {
		if !t.IsZero() {
			details[name] = t.Format(time.RFC3339)
		}
	}
	err = s.DB.Write(w.ctx, audit.OperatorActor("audit export"), func(tx *store.Tx) error {
		return tx.Record(audit.Event{Account: account.ID(c.Account), Name: audit.AuditExport, Details: details})
	})
	if err != nil {
		return err
	}
	chains, err := chainsOf(r, c.Account)
	if err != nil {
		return err
	}
	out, err := audit.NewWriter(w.out, audit.Format(c.Format))
	if err != nil {
		return err
	}
	for _, a := range chains {
		head, err := r.HeadOf(a)
		if err != nil && !audit.IsBroken(err) { // what is broken is what somebody wants to see
			return err
		}
		if err := r.EachEvent(a, q, head.Seq, out.Add); err != nil {
			return err
		}
		if err := out.Head(a, head.Seq, head.Hash); err != nil {
			return err
		}
	}
	return out.Flush()
}

// chainsOf is the account named, if it has events, or all that have.
func chainsOf(r *store.Reader, name string) ([]account.ID, error) {
	if name == "" {
		return r.Chains()
	}
	if _, err := r.HeadOf(account.ID(name)); errors.Is(err, store.ErrNoRow) {
		return nil, fmt.Errorf("there is no account %s; `countersign account list` lists them", name)
	}
	return []account.ID{account.ID(name)}, nil
}

// instantOf reads a day or an instant; empty: none.
func instantOf(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no instant like 2026-03-02 or 2026-03-02T09:30:00Z", s)
}

type auditVerifyCmd struct {
	Head config.List `long:"head" value-name:"HEAD" description:"Where a chain ended when you last looked, ACCOUNT:SEQ:HASH; it must still contain that."`
}

func (c auditVerifyCmd) Run(w *world) error {
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	broken, chains := 0, 0
	r := s.DB.Read(w.ctx)
	err = r.VerifyChains(func(h store.Head, err error) error {
		chains++
		if err != nil {
			broken++
			_, err = fmt.Fprintln(w.out, err)
			return err
		}
		_, err = fmt.Fprintf(w.out, "%s holds\n", audit.HeadLine(h.Account, h.Seq, h.Hash))
		return err
	})
	if err != nil {
		return err
	}
	for _, head := range c.Head {
		if err := r.Contains(head); err != nil {
			broken++
			fmt.Fprintln(w.out, err)
		}
	}
	if broken > 0 {
		return fmt.Errorf("%d of %d audit chains broken", min(broken, chains), chains)
	}
	return nil
}

type auditHeadCmd struct {
	Account string `long:"account" value-name:"ID" description:"Of this account alone; 0 for what concerns no account."`
}

func (c auditHeadCmd) Run(w *world) error {
	s, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	r := s.DB.Read(w.ctx)
	chains, err := chainsOf(r, c.Account)
	if err != nil {
		return err
	}
	for _, a := range chains {
		h, err := r.HeadOf(a)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w.out, audit.HeadLine(h.Account, h.Seq, h.Hash)); err != nil {
			return err
		}
	}
	return nil
}
