// Package smpp sends text messages through an SMSC, as a transceiver of SMPP
// 3.4 (Issue 1.2).
package smpp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"
)

// A Config says which SMSC to use, and how.
type Config struct {
	Address    string // host:port
	SystemID   string // our name at the SMSC, at most 15 octets (SMPP 3.4 §4.1.5)
	Password   string // at most 8 octets
	SystemType string // at most 12 octets; mostly empty

	// Source is whom messages come from: a number with its plus (E.164), at
	// most 8 digits (a short code), or a name of at most 11 ASCII characters.
	// Empty: the SMSC decides.
	Source          string
	SourceNumbering *Numbering // nil: as Source looks

	TLS      *tls.Config // nil: plain TCP, in which the password and all texts can be read
	Alphabet Alphabet    // empty: GSM7

	Window          int           // submit_sm without an answer, at most 1000; zero: 10
	ResponseTimeout time.Duration // for one answer; zero: 10 s

	// Receipt is told what became of messages; nil: nobody wants to know. Its
	// calls come one after the other and hold up the connection, so it must
	// return soon, and not call Close. What is lost between two connections the
	// SMSC tells on the next one.
	Receipt func(Receipt)

	Log    *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // required
	Random func() float64   // [0,1), spreads attempts to connect; nil: math/rand
	// Dial makes the connection, below TLS; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	defaultWindow  = 10
	mostWindow     = 1000
	defaultTimeout = 10 * time.Second
	dialTimeout    = 10 * time.Second
)

// Format keeps the password out of whatever prints a Config.
func (c Config) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "smpp(%s)", c.Address) }

// LogValue keeps the password out of the log.
func (c Config) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// Validate says what is wrong with the setup, as far as it can be seen without
// connecting.
func (c Config) Validate() error {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" {
		return fmt.Errorf("SMSC %q is not host:port", c.Address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("SMSC %q: no such port", c.Address)
	}
	for _, s := range []struct {
		name, value string
		most        int
	}{{"system_id", c.SystemID, 15}, {"password", c.Password, 8}, {"system_type", c.SystemType, 12}} {
		if len(s.value) > s.most {
			return fmt.Errorf("%s has more than %d octets (SMPP 3.4 §4.1.5)", s.name, s.most)
		}
		if strings.Contains(s.value, "\x00") {
			return fmt.Errorf("%s has a NUL in it", s.name)
		}
	}
	if _, _, err := c.source(); err != nil {
		return err
	}
	switch {
	case c.SystemID == "":
		return errors.New("no system_id")
	case c.Alphabet != "" && c.Alphabet != GSM7 && c.Alphabet != Latin1 && c.Alphabet != UCS2:
		return fmt.Errorf("alphabet %q is none of %s, %s, %s", c.Alphabet, GSM7, Latin1, UCS2)
	case c.Window < 0 || c.Window > mostWindow:
		return fmt.Errorf("window %d is not between 1 and %d", c.Window, mostWindow)
	case c.ResponseTimeout < 0:
		return errors.New("response timeout below zero")
	case c.Now == nil:
		return errors.New("no clock")
	}
	return nil
}

// source returns what goes into each submit_sm.
func (c Config) source() (string, Numbering, error) {
	address, numbering, err := sourceAddress(c.Source)
	if c.SourceNumbering == nil {
		return address, numbering, err
	}
	// Whoever sets the numbering knows better what the SMSC wants.
	address = c.Source
	if *c.SourceNumbering == international {
		address = strings.TrimPrefix(address, "+")
	}
	if len(address) > 20 || strings.Contains(address, "\x00") {
		return "", unknown, errors.New("sender has more than 20 octets, or a NUL (SMPP 3.4 §4.4.1)")
	}
	return address, *c.SourceNumbering, nil
}

// withDefaults fills what was left out.
func (c Config) withDefaults() Config {
	if c.Window == 0 {
		c.Window = defaultWindow
	}
	if c.ResponseTimeout == 0 {
		c.ResponseTimeout = defaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	return c
}

// connect makes a connection, without TLS or after its handshake.
func (c Config) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := c.Dial(ctx, "tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to the SMSC: %w", err)
	}
	if c.TLS == nil {
		return conn, nil
	}
	config := c.TLS.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(c.Address) // Validate has seen it
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		err = fmt.Errorf("TLS with the SMSC: %w", err)
		var certificate *tls.CertificateVerificationError
		if errors.As(err, &certificate) {
			return nil, &failure{err, operator}
		}
		return nil, err
	}
	return secured, nil
}
