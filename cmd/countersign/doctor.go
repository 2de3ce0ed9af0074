package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"countersign/internal/server/doctor"
)

type doctorCmd struct {
	Nodes  int    `long:"nodes" default:"1" description:"How many nodes share the database."`
	SendTo string `long:"send-to" value-name:"ADDRESS" description:"Send a mail to this address, to see that one is taken."`
	JSON   bool   `long:"json" description:"Print JSON."`
}

func (c doctorCmd) Run(w *world) error {
	var found []doctor.Finding
	if err := w.config.Check(); err != nil {
		for line := range strings.Lines(err.Error()) {
			found = append(found, doctor.Finding{State: doctor.Fail, Part: "settings", Text: strings.TrimSpace(line), Do: "correct it; the rest is looked at then"})
		}
	} else {
		found = append(found, doctor.Finding{State: doctor.OK, Part: "settings", Text: "are right"})
		d := &doctor.Doctor{Config: *w.config, Nodes: c.Nodes, SendTo: c.SendTo}
		found = append(found, d.Examine(w.ctx)...)
	}
	failed := 0
	for _, f := range found {
		if f.State == doctor.Fail {
			failed++
		}
	}
	if err := c.print(w, found, failed == 0); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d lines are FAIL", failed, len(found))
	}
	return nil
}

func (c doctorCmd) print(w *world, found []doctor.Finding, well bool) error {
	if c.JSON {
		e := json.NewEncoder(w.out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(map[string]any{"ok": well, "findings": found})
	}
	t := tabwriter.NewWriter(w.out, 0, 0, 2, ' ', 0)
	for _, f := range found {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.State, f.Part, f.Text)
		if f.Do != "" {
			fmt.Fprintf(t, "\t\t-> %s\n", f.Do)
		}
	}
	return t.Flush()
}

type healthcheckCmd struct {
	Live bool `long:"live" description:"Ask whether the process answers (/healthz), not whether it is ready (/readyz)."`
}

// Run asks the server that these settings describe, on this machine: for
// containers, which have no curl.
func (c healthcheckCmd) Run(w *world) error {
	if err := w.config.Check(); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(w.config.Listen)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); host == "" || (err == nil && ip.IsUnspecified()) {
		host = "127.0.0.1" // a container may not even know what localhost is
		if ip.Is6() {
			host = "::1"
		}
	}
	scheme, path := "http", "/readyz"
	if w.config.TLSCert != "" {
		scheme = "https"
	}
	if c.Live {
		path = "/healthz"
	}
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return err
	}
	// The certificate is for another name, and nothing is told here.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}} //nolint:gosec // see above
	res, err := client.Do(r)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer func() { _ = res.Body.Close() }()
	var health struct{ Status string }
	_ = json.NewDecoder(res.Body).Decode(&health)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, health.Status)
	}
	_, err = fmt.Fprintln(w.out, health.Status)
	return err
}
