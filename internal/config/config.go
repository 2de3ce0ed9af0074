// Package config is what the operator decides: read once, checked, and never
// read again by anything but the server.
package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"countersign/internal/domain/session"
	"countersign/internal/secret"
	"countersign/internal/store/engine"
)

// A Config is every setting. Each is a flag, an environment variable
// COUNTERSIGN_…, and a key of the file; flags win over the environment, and
// that over the file.
type Config struct {
	Listen              string        `help:"Address to listen on." default:"localhost:8080"`
	Data                string        `help:"Directory of the SQLite database and the keys." default:"./data" type:"path"`
	Database            string        `help:"URL of PostgreSQL (postgres://…). Default: SQLite in the data directory."`
	DatabaseConnections int           `help:"Connections to PostgreSQL at most; one more hears what other nodes revoke." default:"16"`
	DatabasePatience    time.Duration `help:"How long PostgreSQL may take for a statement before the request is refused, 1s to 5m; for a lock half of that." default:"10s"`
	PublicURL           string        `help:"URL under which people reach the server. Default: http:// and the listen address." name:"public-url"`
	ServiceName         string        `help:"What people know the service as." default:"Countersign"`
	Contact             string        `help:"Where people who cannot sign in turn to: shown on pages and in mails."`
	SignUp              string        `help:"Who may create accounts: closed or open." enum:"closed,open" default:"closed"`
	RAMSuffix           string        `help:"Domain after the account alias in the names of RAM users: name@alias.ram.localhost." name:"ram-suffix" default:"ram.localhost"`
	TrustedProxies      []string      `help:"Addresses or CIDRs of proxies whose X-Forwarded-For counts." placeholder:"CIDR"`
	SessionLength       time.Duration `help:"How long a session lasts at most, 1h to 24h." default:"6h"`
	SessionIdle         time.Duration `help:"How long a session lasts without use, 5m to 24h." default:"1h"`
	Keys                string        `help:"File of the keys that seal secrets. Default: keys.json in the data directory." type:"path"`
	TLSCert             string        `help:"Certificate chain (PEM), to serve TLS without a proxy." type:"path" name:"tls-cert"`
	TLSKey              string        `help:"Its private key (PEM)." type:"path" name:"tls-key"`
	FleetAlarm          int           `help:"Wrong codes over all identities in an hour from which everybody pays two codes." default:"1000"`
	SendCeiling         int           `help:"Codes that are sent in a day at most, to everybody together." default:"10000"`
	DrainDelay          time.Duration `help:"How long a stopping node on PostgreSQL still serves, while /readyz tells balancers that it leaves: up to 5m." default:"5s"`
	LogFormat           string        `help:"text or json." enum:"text,json" default:"text"`
	Dev                 bool          `help:"Development mode: messages go to a page and the terminal, the clock can be moved. For this machine only."`

	Observe Observe `embed:""`
	Quota   Quota   `embed:"" prefix:"quota-"`
	Passkey Passkey `embed:"" prefix:"passkey-"`
	SMTP    SMTP    `embed:"" prefix:"smtp-"`
	SMS     SMS     `embed:"" prefix:"sms-"`
	Argon2  Argon2  `embed:"" prefix:"argon2-"`
}

// SMTP says how mail is sent.
type SMTP struct {
	Address      string `help:"Mail server, host:port."`
	Username     string `help:"User name at the mail server."`
	Password     string `help:"Password at the mail server. Better: smtp-password-file."`
	PasswordFile string `help:"File that holds the password." type:"path"`
	From         string `help:"Sender, like \"Example <id@example.com>\"."`
	TLS          string `help:"starttls, implicit, or none (this machine only)." enum:"starttls,implicit,none" default:"starttls" name:"tls"`
}

// Argon2 is the cost of a password hash.
type Argon2 struct {
	Memory  uint32 `help:"Memory of a password hash in KiB." default:"19456" env:"COUNTERSIGN_ARGON2_MEMORY"`
	Passes  uint32 `help:"Passes of a password hash." default:"2" env:"COUNTERSIGN_ARGON2_PASSES"`
	AtOnce  int    `help:"How many passwords are hashed at once. Default: one for each processor but one." env:"COUNTERSIGN_ARGON2_AT_ONCE"`
	Waiting int    `help:"How many more may wait." default:"64" env:"COUNTERSIGN_ARGON2_WAITING"`
}

// Check completes the settings and says everything that is wrong with them.
func (c *Config) Check() error {
	var wrong []error
	say := func(key, format string, args ...any) { wrong = append(wrong, fmt.Errorf(key+": "+format, args...)) }

	host, port, err := net.SplitHostPort(c.Listen)
	if _, number := strconv.ParseUint(port, 10, 16); err != nil || number != nil {
		say("listen", "%q is not host:port", c.Listen)
		port = "8080" // so that what follows from it is no second complaint
	}
	if c.PublicURL == "" {
		scheme := "http://"
		if c.TLSCert != "" {
			scheme = "https://"
		}
		name := host
		if ip, err := netip.ParseAddr(host); host == "" || (err == nil && (ip.IsUnspecified() || ip.IsLoopback())) {
			name = "localhost"
		}
		c.PublicURL = scheme + net.JoinHostPort(name, port)
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		say("public_url", "%q is not like https://id.example.com", c.PublicURL)
	} else {
		c.PublicURL = u.Scheme + "://" + u.Host
		if u.Scheme == "http" && c.TLSCert != "" {
			say("public_url", "%s must be https: the server itself serves TLS", c.PublicURL)
		}
		if u.Scheme == "http" && !local(u.Hostname()) {
			say("public_url", "%s must be https: passwords cross the network", c.PublicURL)
		}
		if c.Dev && !local(u.Hostname()) {
			say("dev", "development mode is for this machine only, but public_url is %s", c.PublicURL)
		}
		if err := c.checkRPID(); err != nil {
			say("passkey_rp_id", "%w", err)
		}
	}
	if c.Dev && !local(host) {
		say("dev", "development mode is for this machine only, but listen is %s", c.Listen)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		say("tls_cert", "tls_cert and tls_key go together")
	} else if c.TLSCert != "" {
		if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
			say("tls_cert", "%w", err)
		}
	}
	if c.Database != "" && !engine.IsPostgres(c.Database) {
		say("database", "is not like postgres://user@host/name")
	}
	wrong = append(wrong, c.checkDatabase()...)
	if c.SessionLength < time.Hour || c.SessionLength > 24*time.Hour {
		say("session_length", "%s is not between 1h and 24h", c.SessionLength)
	}
	if c.SessionIdle < 5*time.Minute || c.SessionIdle > 24*time.Hour {
		say("session_idle", "%s is not between 5m and 24h", c.SessionIdle)
	}
	if c.DrainDelay < 0 || c.DrainDelay > 5*time.Minute {
		say("drain_delay", "%s is not between 0s and 5m", c.DrainDelay)
	}
	if strings.TrimSpace(c.ServiceName) == "" || len(c.ServiceName) > 60 || strings.ContainsAny(c.ServiceName, "\r\n") {
		say("service_name", "must be 1 to 60 bytes on one line")
	}
	if c.SendCeiling < 1 {
		say("send_ceiling", "must be at least 1")
	}
	if c.FleetAlarm < 1 {
		say("fleet_alarm", "must be at least 1")
	}
	if _, err := c.Proxies(); err != nil {
		wrong = append(wrong, err)
	}
	wrong = append(wrong, c.checkObserve()...)
	wrong = append(wrong, c.checkUsers()...)
	wrong = append(wrong, c.checkPasskeys()...)
	wrong = append(wrong, c.checkArgon2()...)
	wrong = append(wrong, c.checkSMTP()...)
	wrong = append(wrong, c.checkSMS()...)
	if c.Keys == "" {
		c.Keys = filepath.Join(c.Data, "keys.json")
	}
	return errors.Join(wrong...)
}

// checkDatabase completes settings that were made without the command line.
func (c *Config) checkDatabase() (wrong []error) {
	if c.DatabaseConnections == 0 && c.DatabasePatience == 0 {
		c.DatabaseConnections, c.DatabasePatience = engine.DefaultConnections, engine.DefaultPatience
	}
	if c.DatabaseConnections < 2 || c.DatabaseConnections > 1000 {
		wrong = append(wrong, fmt.Errorf("database_connections: %d is not between 2 and 1000", c.DatabaseConnections))
	}
	if c.DatabasePatience < time.Second || c.DatabasePatience > 5*time.Minute {
		wrong = append(wrong, fmt.Errorf("database_patience: %s is not between 1s and 5m", c.DatabasePatience))
	}
	return wrong
}

func (c *Config) checkArgon2() (wrong []error) {
	if c.Argon2.Memory < 19*1024 || c.Argon2.Memory > 1<<20 {
		wrong = append(wrong, fmt.Errorf("argon2_memory: %d is not between 19456 and 1048576 KiB", c.Argon2.Memory))
	}
	if c.Argon2.Passes < 2 || c.Argon2.Passes > 20 {
		wrong = append(wrong, fmt.Errorf("argon2_passes: %d is not between 2 and 20", c.Argon2.Passes))
	}
	if c.Argon2.AtOnce == 0 {
		c.Argon2.AtOnce = max(1, runtime.GOMAXPROCS(0)-1) // the last one is for everything else
	}
	if c.Argon2.AtOnce < 1 || c.Argon2.Waiting < 0 {
		wrong = append(wrong, errors.New("argon2_at_once: must be at least 1, argon2_waiting at least 0"))
	}
	return wrong
}

func (c *Config) checkSMTP() (wrong []error) {
	s := &c.SMTP
	if s.Address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(s.Address)
	if err != nil {
		wrong = append(wrong, fmt.Errorf("smtp_address: %q is not host:port", s.Address))
	}
	if _, err := mail.ParseAddress(s.From); err != nil {
		wrong = append(wrong, fmt.Errorf("smtp_from: %q is not a mail address", s.From))
	}
	if s.TLS == "none" && !local(host) {
		wrong = append(wrong, errors.New("smtp_tls: none is for a mail server on this machine only"))
	}
	if s.PasswordFile != "" {
		b, err := os.ReadFile(s.PasswordFile)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("smtp_password_file: %w", err))
		}
		s.Password = strings.TrimRight(string(b), "\r\n")
	}
	return wrong
}

func local(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Proxies are the trusted proxies as networks.
func (c *Config) Proxies() ([]netip.Prefix, error) {
	list := make([]netip.Prefix, 0, len(c.TrustedProxies))
	for _, s := range c.TrustedProxies {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return nil, fmt.Errorf("trusted_proxies: %q is neither an address nor a CIDR", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p)
	}
	return list, nil
}

// DatabaseURL is what the store opens.
func (c *Config) DatabaseURL() string {
	if c.Database != "" {
		return c.Database
	}
	return filepath.Join(c.Data, "countersign.db")
}

// Draining is how long the server still serves when it is told to stop. On
// SQLite nobody else would take over meanwhile, and in development nobody waits.
func (c *Config) Draining() time.Duration {
	if c.Database == "" || c.Dev {
		return 0
	}
	return c.DrainDelay
}

// Lifetimes of sessions.
func (c *Config) Lifetimes() session.Lifetimes {
	return session.Lifetimes{Idle: c.SessionIdle, Overall: c.SessionLength}
}

// HashCost is the cost of a password hash.
func (c *Config) HashCost() secret.Argon2 {
	return secret.Argon2{MemoryKiB: c.Argon2.Memory, Passes: c.Argon2.Passes, Threads: 1}
}

// IsHere reports whether host (with or without a port) names this machine.
func (c *Config) IsHere(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return local(strings.Trim(host, "[]"))
}
