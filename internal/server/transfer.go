package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"countersign/internal/config"
	"countersign/internal/secret"
	"countersign/internal/store"
	"countersign/internal/store/transfer"
)

// Transfer prepares what moves, copies and restores the database: it opens
// none, and makes no keys where there are none.
func Transfer(c config.Config, log *slog.Logger) (*transfer.Desk, error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fmt.Errorf("prepare the data directory: %w", err)
	}
	clock, err := newClock(c.Data, c.Dev)
	if err != nil {
		return nil, err
	}
	d := &transfer.Desk{Store: store.Config{URL: c.DatabaseURL(), Now: clock.Now, Random: rand.Reader, Log: log, Suffix: c.RAMSuffix}}
	if _, err := os.Stat(c.Keys); !errors.Is(err, fs.ErrNotExist) {
		if d.Store.Keys, err = secret.OpenKeyring(c.Keys, rand.Reader, clock.Now()); err != nil {
			return nil, err
		}
	}
	return d, nil
}
