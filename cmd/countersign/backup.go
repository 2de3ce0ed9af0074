package main

import (
	"errors"
	"fmt"

	"countersign/internal/store/transfer"
)

// A backupLock is what seals a backup and opens it.
type backupLock struct {
	KeyFile        string `required:"" xor:"lock" type:"path" help:"File of the key that seals backups and opens them." placeholder:"FILE" env:"-"`
	PassphraseFile string `required:"" xor:"lock" type:"path" help:"File whose first line is the passphrase instead." placeholder:"FILE" env:"-"`
}

func (l backupLock) lock() (transfer.Lock, error) {
	if l.PassphraseFile != "" {
		return transfer.PassphraseLock(l.PassphraseFile)
	}
	return transfer.KeyLock(l.KeyFile)
}

type backupCmd struct {
	File string `arg:"" type:"path" help:"File to write, or with --check to read."`
	backupLock
	NewKey   bool `xor:"what" help:"Make the key file first." env:"-"`
	WithKeys bool `xor:"what2" help:"Seal the keys (keys.json) into it too." env:"-"`
	Check    bool `xor:"what,what2" help:"Read a backup and say whether it is whole; restore nothing." env:"-"`
}

func (c backupCmd) Run(w *world) error {
	d, err := w.desk(false)
	if err != nil {
		return err
	}
	if c.NewKey {
		if c.KeyFile == "" {
			return errors.New("--new-key goes with --key-file")
		}
		if err := transfer.NewKey(c.KeyFile, d.Store.Now()); err != nil {
			return fmt.Errorf("make the key: %w", err)
		}
	}
	l, err := c.lock()
	if err != nil {
		return err
	}
	if c.Check {
		return c.check(w, d, l)
	}
	b := transfer.Backup{File: c.File, Lock: l}
	if c.WithKeys {
		b.Keys = w.config.Keys
	}
	done, err := d.Backup(w.ctx, b)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "Backup made: %s, %s, in %s\n", counted(done.Tables, "table"), counted(int(done.Rows), "row"), c.File)
	if c.NewKey {
		fmt.Fprintf(w.out, "It opens with %s alone: keep a copy of that elsewhere.\n", c.KeyFile)
	}
	if !c.WithKeys {
		fmt.Fprintf(w.out, "%s is not in it, and it is of no use without: keep a copy of that elsewhere too.\n", w.config.Keys)
	}
	return nil
}

func (c backupCmd) check(w *world, d *transfer.Desk, l transfer.Lock) error {
	h, done, err := d.Check(w.ctx, c.File, l)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "The backup is whole: made at %s from %s, schema %d, %s, %s.\n", at(h.MadeAt), h.Engine, h.Schema, counted(done.Tables, "table"), counted(int(done.Rows), "row"))
	switch {
	case done.Chains > 0:
		fmt.Fprintf(w.out, "Its keys are those of this installation; %s.\n", chainsHold(done.Chains))
	case d.Store.Keys == nil:
		fmt.Fprintf(w.out, "There are no keys here (%s): its audit chains were not checked.\n", w.config.Keys)
	default:
		fmt.Fprintf(w.out, "Its keys are those of this installation; its audit chains are checked when it is restored.\n")
	}
	if len(h.Keys) > 0 {
		fmt.Fprintf(w.out, "It holds the keys too.\n")
	}
	return nil
}

type restoreCmd struct {
	File string `arg:"" type:"existingfile" help:"File that countersign backup has written."`
	backupLock
}

func (c restoreCmd) Run(w *world) error {
	d, err := w.desk(false)
	if err != nil {
		return err
	}
	l, err := c.lock()
	if err != nil {
		return err
	}
	h, done, err := d.Restore(w.ctx, transfer.Restore{File: c.File, Lock: l, Keys: w.config.Keys})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, `Restored: %s, %s, as they were at %s; %s.
Everybody signs in anew. Sessions, what was under way, remembered devices, known browsers, links and tickets have ended, and messages that waited are gone.
Codes of virtual MFA devices work again within a minute: those shown until now may have been used.
What was done since then is undone: passwords, devices and users are as they were, and recovery codes used since work again. Whoever was locked out or lost a device since is to be looked after once more.
`, counted(done.Tables, "table"), counted(int(done.Rows), "row"), at(h.MadeAt), chainsHold(done.Chains))
	return err
}
