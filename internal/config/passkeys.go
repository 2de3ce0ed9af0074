package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"

	"countersign/internal/domain/passkey"
)

// Passkey says what passkeys belong to, and which may be bound.
type Passkey struct {
	RPID        string `long:"rp-id" description:"Domain that passkeys belong to, for good: the host of public_url or a domain above it. Default: that host."`
	Origins     List   `long:"origins" value-name:"ORIGIN" description:"Related origins: other origins whose pages may use the same passkeys, like https://example.net."`
	Attestation string `long:"attestation" default:"none" choice:"none" choice:"direct" description:"Ask authenticators to prove their model (direct), or not (none)."`
	Allow       List   `long:"allow" value-name:"AAGUID" description:"AAGUIDs of the models that alone may be bound."`
	Deny        List   `long:"deny" value-name:"AAGUID" description:"AAGUIDs of models that may not be bound."`
	Metadata    string `long:"metadata" description:"BLOB file of the FIDO Metadata Service (MDS3), to check attestations by."`
}

func (c *Config) checkPasskeys() (wrong []error) {
	p := &c.Passkey
	say := func(key, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("passkey_"+key+": "+format, args...))
	}
	if _, err := c.RelatedOrigins(); err != nil {
		wrong = append(wrong, err)
	}
	if len(p.Allow) > 0 && len(p.Deny) > 0 {
		say("allow", "names all that may be bound: leave passkey_deny out")
	}
	_, allow := aaguids("allow", p.Allow)
	_, deny := aaguids("deny", p.Deny)
	if err := errors.Join(allow, deny); err != nil {
		wrong = append(wrong, err)
	}
	if p.Metadata == "" {
		return wrong
	}
	if p.Attestation != "direct" {
		say("metadata", "is of no use without passkey_attestation direct")
	}
	if f, err := os.Open(p.Metadata); err != nil {
		say("metadata", "%w", err)
	} else {
		_ = f.Close()
	}
	return wrong
}

// checkRPID completes the domain of passkeys: the host of public_url, which was
// found right, or one above it. Whether that one is registrable browsers know.
func (c *Config) checkRPID() error {
	host, p := c.publicHost(), &c.Passkey
	if p.RPID == "" {
		if c.PasskeysOff() == "" {
			p.RPID = host
		}
		return nil
	}
	if isAddress(host) {
		return fmt.Errorf("%q cannot be: public_url is an address, and passkeys belong to a name", p.RPID)
	}
	id := strings.ToLower(p.RPID)
	if !isName(id) {
		return fmt.Errorf("%q is not a domain name like example.com: no scheme, no port, no path", p.RPID)
	}
	above := strings.Contains(id, ".") && strings.HasSuffix(host, "."+id) // no browser takes a top-level domain
	if id != host && !above {
		return fmt.Errorf("%q is neither the host of public_url, %s, nor a domain above it", p.RPID, host)
	}
	p.RPID = id
	return nil
}

// publicHost is the host of public_url as browsers write it.
func (c *Config) publicHost() string {
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// isName reports whether passkeys can belong to a host, in lower case:
// localhost, or a domain of two labels at least.
func isName(host string) bool {
	return protocol.ValidateRPID(host) == nil && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" && (strings.Contains(host, ".") || host == "localhost")
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil
}

// PasskeysOff says why passkeys cannot be used, in a line; empty: they can.
func (c *Config) PasskeysOff() string {
	host := c.publicHost()
	switch {
	case isAddress(host):
		return "passkeys are off: public_url is an address, and they belong to a name"
	case !isName(host):
		return fmt.Sprintf("passkeys are off: public_url is at %q, which is no domain name", host)
	}
	return ""
}

// PasskeyOrigins are the origins whose pages may use passkeys: that of
// public_url, and the related ones.
func (c *Config) PasskeyOrigins() []string {
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return nil
	}
	own := strings.ToLower(c.PublicURL)
	if u.Port() == map[string]string{"http": "80", "https": "443"}[u.Scheme] { // browsers leave it out
		own = strings.TrimSuffix(own, ":"+u.Port())
	}
	related, _ := c.RelatedOrigins() // checked with the settings
	return append([]string{own}, slices.DeleteFunc(related, func(o string) bool { return o == own })...)
}

// RelatedOrigins are the origins of other domains whose pages may use the
// passkeys too.
func (c *Config) RelatedOrigins() ([]string, error) {
	var list []string
	var wrong []error
	for _, typed := range c.Passkey.Origins {
		typed = strings.TrimSpace(typed)
		u, err := url.Parse(typed)
		if err != nil || u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || !isPort(u.Port()) || !isName(strings.ToLower(u.Hostname())) {
			wrong = append(wrong, fmt.Errorf("passkey_origins: %q is not like https://example.net", typed))
			continue
		}
		list = append(list, typed)
	}
	if len(wrong) > 0 || len(list) == 0 {
		return nil, errors.Join(wrong...)
	}
	related, err := protocol.NewRelatedOrigins(list...)
	if err != nil { // of what it refuses, only this is left
		return nil, fmt.Errorf("passkey_origins: %s: browsers follow at most %d names before the last dot", strings.Join(list, ", "), protocol.MaximumRelatedOriginLabels)
	}
	return related.Origins, nil
}

// PasskeyLists say which authenticators may be bound.
func (c *Config) PasskeyLists() passkey.Lists {
	allow, _ := aaguids("allow", c.Passkey.Allow) // checked with the settings
	deny, _ := aaguids("deny", c.Passkey.Deny)
	return passkey.Lists{Allow: allow, Deny: deny}
}

func aaguids(key string, typed []string) (list []passkey.AAGUID, err error) {
	var wrong []error
	for _, s := range typed {
		a, err := passkey.ParseAAGUID(strings.TrimSpace(s))
		if err != nil {
			wrong = append(wrong, fmt.Errorf("passkey_%s: %q is not an AAGUID like ee882879-721c-4913-9775-3dfcce97072a", key, s))
			continue
		}
		list = append(list, a)
	}
	return list, errors.Join(wrong...)
}
