package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// A NodeRow is an operation over HTTP, on processes that share one database.
type NodeRow struct {
	Operation string        `json:"operation"`
	Nodes     int           `json:"nodes"`
	Rate      float64       `json:"per_second"`
	Median    time.Duration `json:"median_ns"`
	P99       time.Duration `json:"p99_ns"`
}

// A node is one process.
type node struct {
	*exec.Cmd
	url string
}

// start runs the program as a node and waits until it is ready.
func (o Options) start(ctx context.Context, p *population, number int) (*node, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, o.Program, "serve", "--listen", address, "--data", filepath.Join(p.dir, fmt.Sprintf("node%d", number)), "--keys", filepath.Join(p.dir, "keys.json")) //nolint:gosec // ourselves
	c.Env = append(os.Environ(), "COUNTERSIGN_DATABASE="+p.url, "COUNTERSIGN_TRUSTED_PROXIES=127.0.0.0/8")                                                                             // it may hold a password
	c.Stdout, c.Stderr = io.Discard, io.Discard
	n := &node{c, "http://" + address}
	if err := c.Start(); err != nil {
		return nil, err
	}
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		if res, err := http.Get(n.url + "/readyz"); err == nil { //nolint:noctx // bounded by the loop
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return n, nil
			}
		}
	}
	return nil, errors.Join(errors.New("bench: a node does not get ready"), n.stop())
}

func (n *node) stop() error {
	err := n.Process.Kill()
	_ = n.Wait()
	return err
}

// nodes measures what a number of them do together.
func (o Options) nodes(ctx context.Context, p *population, number int, r *Report) error {
	o.Say("postgres: %d nodes", number)
	var urls []string
	for k := range number {
		n, err := o.start(ctx, p, k)
		if err != nil {
			return err
		}
		defer func() { _ = n.stop() }()
		urls = append(urls, n.url)
	}
	i, err := p.identity(ctx, p.somebody())
	if err != nil {
		return err
	}
	_, token, err := p.signed(ctx, i)
	if err != nil {
		return err
	}
	client := o.client()
	var turn atomic.Int64
	next := func() string { return urls[int(turn.Add(1))%len(urls)] }
	for _, op := range []struct {
		name string
		do   func() error
	}{
		{"session check", func() error {
			_, err := checkSession(ctx, client, next()+sessionPath, token)
			return err
		}},
		{"password to second step, a hash of the usual cost in it", func() error {
			body, err := json.Marshal(map[string]string{"username": name(p.somebody()), "password": password})
			if err != nil {
				return err
			}
			q, err := http.NewRequestWithContext(ctx, http.MethodPost, next()+"/api/v1/signin", bytes.NewReader(body))
			if err != nil {
				return err
			}
			q.Header.Set("Content-Type", "application/json")
			q.Header.Set("X-Forwarded-For", visitor().Address.String())
			_, err = fetch(client, q)
			return err
		}},
	} {
		var took []time.Duration
		for range o.Rounds {
			slice, err := o.together(o.Slice, op.do)
			if err != nil {
				return fmt.Errorf("%s: %w", op.name, err)
			}
			took = append(took, slice...)
		}
		slices.Sort(took)
		r.Nodes = append(r.Nodes, NodeRow{op.name, number, o.rate(took), quantile(took, .5), quantile(took, .99)})
	}
	return nil
}
