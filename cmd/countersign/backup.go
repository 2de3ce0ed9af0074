package main

import (
	"errors"
	"fmt"

	"countersign/internal/config"
	"countersign/internal/store/transfer"
)

// A backupLock is what seals a backup and opens it: one of the two.
type backupLock struct {
	KeyFile        config.Path `long:"key-file" value-name:"FILE" description:"File of the key that seals backups and opens them."`
	PassphraseFile config.Path `long:"passphrase-file" value-name:"FILE" description:"File whose first line is the passphrase instead."`
}

// Usage says in the help what is needed.
func (backupLock) Usage() string { return "(--key-file=FILE | --passphrase-file=FILE)" }

func (l backupLock) check() error {
	return pair(true, "--key-file", l.KeyFile != "", "--passphrase-file", l.PassphraseFile != "")
}

func (l backupLock) lock() (transfer.Lock, error) {
	if l.PassphraseFile != "" {
		return transfer.PassphraseLock(string(l.PassphraseFile))
	}
	return transfer.KeyLock(string(l.KeyFile))
}

type backupCmd struct {
	Args struct {
		File config.Path `positional-arg-name:"<file>" required:"yes" description:"File to write, or with --check to read."`
	} `positional-args:"yes"`
	backupLock
	NewKey   bool `long:"new-key" description:"Make the key file first."`
	WithKeys bool `long:"with-keys" description:"Seal the keys (keys.json) into it too."`
	Check    bool `long:"check" description:"Read a backup and say whether it is whole; restore nothing."`
}

// Usage says in the help what is needed.
func (c backupCmd) Usage() string {
	return c.backupLock.Usage() + " [--new-key] [--with-keys] [--check]"
}

func (c backupCmd) Run(w *world) error {
	if err := errors.Join(c.check(), pair(false, "--new-key", c.NewKey, "--check", c.Check), pair(false, "--with-keys", c.WithKeys, "--check", c.Check)); err != nil {
		return err
	}
	d, err := w.desk(false)
	if err != nil {
		return err
	}
	if c.NewKey {
		if c.KeyFile == "" {
			return errors.New("--new-key goes with --key-file")
		}
		if err := transfer.NewKey(string(c.KeyFile), d.Store.Now()); err != nil {
			return fmt.Errorf("make the key: %w", err)
		}
	}
	l, err := c.lock()
	if err != nil {
		return err
	}
	if c.Check {
		return c.read(w, d, l)
	}
	b := transfer.Backup{File: string(c.Args.File), Lock: l}
	if c.WithKeys {
		b.Keys = w.config.Keys
	}
	done, err := d.Backup(w.ctx, b)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "Backup made: %s, %s, in %s\n", counted(done.Tables, "table"), counted(int(done.Rows), "row"), c.Args.File)
	if c.NewKey {
		fmt.Fprintf(w.out, "It opens with %s alone: keep a copy of that elsewhere.\n", c.KeyFile)
	}
	if !c.WithKeys {
		fmt.Fprintf(w.out, "%s is not in it, and it is of no use without: keep a copy of that elsewhere too.\n", w.config.Keys)
	}
	return nil
}

func (c backupCmd) read(w *world, d *transfer.Desk, l transfer.Lock) error {
	h, done, err := d.Check(w.ctx, string(c.Args.File), l)
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
	Args struct {
		File config.Path `positional-arg-name:"<file>" required:"yes" description:"File that countersign backup has written."`
	} `positional-args:"yes"`
	backupLock
}

func (c restoreCmd) Run(w *world) error {
	if err := c.check(); err != nil {
		return err
	}
	d, err := w.desk(false)
	if err != nil {
		return err
	}
	l, err := c.lock()
	if err != nil {
		return err
	}
	h, done, err := d.Restore(w.ctx, transfer.Restore{File: string(c.Args.File), Lock: l, Keys: w.config.Keys})
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
