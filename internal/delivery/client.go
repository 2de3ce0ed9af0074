package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	requestTimeout = 10 * time.Second
	answerLimit    = 64 << 10
)

// A Client is how gateways are called over HTTP: the host that is configured
// and no other, since redirects are not followed, and only with TLS unless the
// host is this machine.
type Client struct{ secure, local *http.Client }

// NewClient returns a Client that trusts roots; nil means the system's.
func NewClient(roots *x509.CertPool) *Client {
	return &Client{
		secure: newCaller(roots, proxy, func(ip netip.Addr) bool {
			// Nobody's gateway, but where clouds keep the credentials of a machine.
			return !ip.IsLinkLocalUnicast() && !ip.IsMulticast() && !ip.IsUnspecified()
		}),
		local: newCaller(roots, nil, netip.Addr.IsLoopback),
	}
}

func newCaller(roots *x509.CertPool, proxy func(*http.Request) (*url.URL, error), allowed func(netip.Addr) bool) *http.Client {
	dialer := &net.Dialer{
		Timeout: requestTimeout,
		// A name may resolve to anything: what counts is where we connect.
		Control: func(_, address string, _ syscall.RawConn) error {
			if to, err := netip.ParseAddrPort(address); err != nil || !allowed(to.Addr().Unmap()) {
				return setupError{errors.New("the gateway is at an address that we do not call")}
			}
			return nil
		},
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  proxy,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:    requestTimeout,
			IdleConnTimeout:        time.Minute,
			MaxIdleConnsPerHost:    SMSAtOnce,
			MaxResponseHeaderBytes: answerLimit,
			DisableCompression:     true,
		},
	}
}

func proxy(r *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(r)
	if err != nil { // it quotes the address, and that may hold a password
		return nil, setupError{errors.New("the proxy of the environment is not an address")}
	}
	return u, nil
}

// endpoint reads the address of a gateway. What is wrong is said without the
// address: its path or query may be a secret.
func endpoint(what, address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return nil, fmt.Errorf("the address of %s is not a URL", what)
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	switch {
	case u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("the address of %s has a user name or a fragment", what)
	case u.Scheme == "https":
	case u.Scheme == "http" && (u.Hostname() == "localhost" || ip.IsLoopback()):
	default:
		return nil, fmt.Errorf("the address of %s is not https://: without TLS we call this machine only", what)
	}
	return u, nil
}

// An answer is what a gateway says to a request, with the first 64 KiB of its
// body, as far as that came.
type answer struct {
	status     int
	retryAfter string
	body       []byte
}

// post hands body to the gateway at to.
func (c *Client) post(ctx context.Context, to *url.URL, header http.Header, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("no end within %v", requestTimeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(string(body)))
	if err != nil {
		return answer{}, setupError{errors.New("the address of the gateway makes no request")}
	}
	r.Header = header
	r.Header.Set("User-Agent", "Countersign")
	client := c.secure
	if to.Scheme == "http" {
		client = c.local
	}
	response, err := client.Do(r)
	if err != nil {
		return answer{}, broken(ctx, err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 && response.StatusCode < 400 {
		return answer{}, setupError{fmt.Errorf("the gateway sends us elsewhere (HTTP %d), where we do not go", response.StatusCode)}
	}
	a := answer{status: response.StatusCode, retryAfter: response.Header.Get("Retry-After")}
	// Whoever needs the body sees that it was cut short.
	a.body, _ = io.ReadAll(io.LimitReader(response.Body, answerLimit))
	return a, nil
}

// broken says why there is no answer, without the URL that net/http puts into
// its errors, and without quoting what came instead of an answer.
func broken(ctx context.Context, err error) error {
	var (
		setup       setupError
		certificate *tls.CertificateVerificationError
		network     *net.OpError
		request     *url.Error
	)
	switch {
	case errors.As(err, &setup):
		return setup
	case errors.As(err, &certificate):
		return setupError{certificate}
	case errors.Is(err, http.ErrSchemeMismatch):
		return setupError{errors.New("the gateway speaks no TLS")}
	case ctx.Err() != nil:
		return fmt.Errorf("the gateway does not answer: %w", context.Cause(ctx))
	case errors.As(err, &network) && network.Op == "remote error": // a TLS alert
		return setupError{fmt.Errorf("the gateway refuses our TLS: %w", network.Err)}
	case errors.As(err, &network):
		return fmt.Errorf("the gateway cannot be reached: %w", network)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the gateway hung up")
	case errors.As(err, &request) && strings.HasPrefix(request.Err.Error(), "tls: "):
		return setupError{request.Err}
	}
	return errors.New("the gateway's answer cannot be understood")
}

// refused classes an answer by its status alone.
func (a answer) refused(now time.Time) error {
	err := fmt.Errorf("the gateway answers HTTP %d", a.status)
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		return setupError{err}
	}
	return a.later(err, now)
}

// later adds the wait that the gateway asks for (RFC 9110 §10.2.3).
func (a answer) later(err error, now time.Time) error {
	wait := time.Duration(0)
	if seconds, bad := strconv.ParseUint(a.retryAfter, 10, 31); bad == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, bad := http.ParseTime(a.retryAfter); bad == nil {
		wait = at.Sub(now)
	}
	if wait <= 0 {
		return err
	}
	return laterError{min(wait, LastRetry), err}
}
