package rolltest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A balancer passes requests on to the nodes whose /readyz says that they are
// ready, in turn. It never tries again: what fails, fails.
type balancer struct {
	*httptest.Server
	mu    sync.Mutex
	nodes []*behind
	turn  atomic.Uint64
	stop  chan struct{}
}

// A behind is a node as the balancer knows it.
type behind struct {
	url   *url.URL
	ready atomic.Bool
	took  atomic.Int64 // requests
	proxy *httputil.ReverseProxy
}

func newBalancer(t *testing.T) *balancer {
	b := &balancer{stop: make(chan struct{})}
	b.Server = httptest.NewServer(b)
	t.Cleanup(func() {
		close(b.stop)
		b.Close()
	})
	return b
}

// look has the balancer ask a node ten times a second whether it is ready.
func (b *balancer) look(t *testing.T, address string) *behind {
	t.Helper()
	u := &url.URL{Scheme: "http", Host: address}
	n := &behind{url: u, proxy: &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"] // of the balancer before it, where a test plays one
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			w.Header().Set("Balancer", address+": "+err.Error())
			w.WriteHeader(http.StatusBadGateway)
		},
	}}
	b.mu.Lock()
	b.nodes = append(b.nodes, n)
	b.mu.Unlock()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			res, err := client.Get(u.String() + "/readyz")
			if err == nil {
				_ = res.Body.Close()
			}
			n.ready.Store(err == nil && res.StatusCode == http.StatusOK)
			select {
			case <-b.stop:
				return
			case <-tick.C:
			}
		}
	}()
	return n
}

var errNobody = errors.New("no node is ready")

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	nodes := b.nodes
	b.mu.Unlock()
	first := b.turn.Add(1)
	for i := range nodes {
		if n := nodes[(first+uint64(i))%uint64(len(nodes))]; n.ready.Load() {
			n.took.Add(1)
			n.proxy.ServeHTTP(w, r)
			return
		}
	}
	w.Header().Set("Balancer", errNobody.Error())
	w.WriteHeader(http.StatusBadGateway)
}
