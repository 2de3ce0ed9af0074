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
	Listen              string        `long:"listen" default:"localhost:8080" description:"Address to listen on."`
	Data                string        `long:"data" default:"./data" description:"Directory of the SQLite database and the keys."`
	Database            string        `long:"database" description:"URL of PostgreSQL (postgres://…). Default: SQLite in the data directory."`
	DatabaseConnections int           `long:"database-connections" default:"16" description:"Connections to PostgreSQL at most; one more hears what other nodes revoke."`
	DatabasePatience    time.Duration `long:"database-patience" default:"10s" description:"How long PostgreSQL may take for a statement before the request is refused, 1s to 5m; for a lock half of that."`
	PublicURL           string        `long:"public-url" description:"URL under which people reach the server. Default: http:// and the listen address."`
	ServiceName         string        `long:"service-name" unquote:"false" default:"Countersign" description:"What people know the service as."`
	Contact             string        `long:"contact" unquote:"false" description:"Where people who cannot sign in turn to: shown on pages and in mails."`
	SignUp              string        `long:"sign-up" default:"closed" choice:"closed" choice:"open" description:"Who may create accounts: closed or open."`
	RAMSuffix           string        `long:"ram-suffix" default:"ram.localhost" description:"Domain after the account alias in the names of RAM users: name@alias.ram.localhost."`
	TrustedProxies      List          `long:"trusted-proxies" value-name:"CIDR" description:"Addresses or CIDRs of proxies whose X-Forwarded-For counts."`
	SessionLength       time.Duration `long:"session-length" default:"6h" description:"How long a session lasts at most, 1h to 24h."`
	SessionIdle         time.Duration `long:"session-idle" default:"1h" description:"How long a session lasts without use, 5m to 24h."`
	Keys                string        `long:"keys" description:"File of the keys that seal secrets. Default: keys.json in the data directory."`
	TLSCert             string        `long:"tls-cert" description:"Certificate chain (PEM), to serve TLS without a proxy."`
	TLSKey              string        `long:"tls-key" description:"Its private key (PEM)."`
	FleetAlarm          int           `long:"fleet-alarm" default:"1000" description:"Wrong codes over all identities in an hour from which everybody pays two codes."`
	SendCeiling         int           `long:"send-ceiling" default:"10000" description:"Codes that are sent in a day at most, to everybody together."`
	DrainDelay          time.Duration `long:"drain-delay" default:"5s" description:"How long a stopping node on PostgreSQL still serves, while /readyz tells balancers that it leaves: up to 5m."`
	LogFormat           string        `long:"log-format" default:"text" choice:"text" choice:"json" description:"text or json."`
	Dev                 bool          `long:"dev" description:"Development mode: messages go to a page and the terminal, the clock can be moved. For this machine only."`

	Observe Observe
	Quota   Quota   `group:"Quotas" namespace:"quota"`
	Passkey Passkey `group:"Passkeys" namespace:"passkey"`
	SMTP    SMTP    `group:"Mail" namespace:"smtp"`
	SMS     SMS     `group:"Text messages" namespace:"sms"`
	Argon2  Argon2  `group:"Password hashes" namespace:"argon2"`
}

// SMTP says how mail is sent.
type SMTP struct {
	Address      string `long:"address" description:"Mail server, host:port."`
	Username     string `long:"username" unquote:"false" description:"User name at the mail server."`
	Password     string `long:"password" unquote:"false" description:"Password at the mail server. Better: smtp-password-file."`
	PasswordFile string `long:"password-file" description:"File that holds the password."`
	From         string `long:"from" unquote:"false" description:"Sender, like \"Example <id@example.com>\"."`
	TLS          string `long:"tls" default:"starttls" choice:"starttls" choice:"implicit" choice:"none" description:"starttls, implicit, or none (this machine only)."`
}

// Argon2 is the cost of a password hash.
type Argon2 struct {
	Memory  uint32 `long:"memory" default:"19456" description:"Memory of a password hash in KiB."`
	Passes  uint32 `long:"passes" default:"2" description:"Passes of a password hash."`
	AtOnce  int    `long:"at-once" description:"How many passwords are hashed at once. Default: one for each processor but one."`
	Waiting int    `long:"waiting" default:"64" description:"How many more may wait."`
}

// Check completes the settings and says everything that is wrong with them.
func (c *Config) Check() error {
	var wrong []error
	say := func(key, format string, args ...any) { wrong = append(wrong, fmt.Errorf(key+": "+format, args...)) }

	for _, path := range []*string{&c.Data, &c.Keys, &c.TLSCert, &c.TLSKey, &c.Passkey.Metadata, &c.SMTP.PasswordFile, &c.SMS.SecretFile} {
		*path = absolute(*path)
	}
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
