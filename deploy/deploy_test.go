// Package deploy holds what installs the program. Its tests see that the files
// say the same as the program, and each other.
package deploy_test

import (
	"bufio"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jessevdk/go-flags"
	"go.yaml.in/yaml/v3"

	"countersign/internal/config"
	"countersign/internal/store/storetest"
)

// leaving is how long a node takes to end at most, without the delay of
// draining: requests under way, deliveries and their records, senders.
const leaving = 40 * time.Second

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// settings are those of a file and an environment.
func settings(t *testing.T, file string, env map[string]string) config.Config {
	t.Helper()
	for _, line := range os.Environ() { // of whoever tests
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, config.EnvironmentPrefix) {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
	var c config.Config
	p := flags.NewNamedParser("countersign", flags.None)
	options, err := c.Options(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ParseArgs(nil); err != nil {
		t.Fatal(err)
	}
	if err := options.Complete([]byte(file)); err != nil {
		t.Fatal(err)
	}
	if err := options.CheckEnvironment(); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return c
}

var commented = regexp.MustCompile(`(?m)^#(\S|  )`)

// The settings that come with the package are right, and so are those that it
// suggests.
func TestTheSettingsOfThePackage(t *testing.T) {
	text := read(t, "countersign.yaml")
	if c := settings(t, text, nil); c.PublicURL != "http://localhost:8080" || c.Data != "/var/lib/countersign" {
		t.Errorf("as they come: %+v", c)
	}
	c := settings(t, commented.ReplaceAllString(text, "$1"), nil)
	if c.PublicURL != "https://id.example.com" || len(c.TrustedProxies) != 2 || c.SMTP.Address != "mail.example.com:587" || !strings.HasPrefix(c.Database, "postgres://") {
		t.Errorf("with all that it suggests: %+v", c)
	}
}

func unit(t *testing.T) map[string][]string {
	t.Helper()
	values := map[string][]string{}
	lines := bufio.NewScanner(strings.NewReader(read(t, "countersign.service")))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok && !strings.HasPrefix(name, "#") {
			values[name] = append(values[name], value)
		}
	}
	return values
}

func TestTheUnit(t *testing.T) {
	u := unit(t)
	c := settings(t, read(t, "countersign.yaml"), nil)
	if state := "/var/lib/" + u["StateDirectory"][0]; state != c.Data || u["WorkingDirectory"][0] != c.Data {
		t.Errorf("the unit keeps its state in %s, the settings in %s", state, c.Data)
	}
	if stop, err := time.ParseDuration(u["TimeoutStopSec"][0] + "s"); err != nil || stop < c.DrainDelay+leaving {
		t.Errorf("it is killed after %s (%v)", stop, err)
	}
	if u["Type"][0] != "notify" || u["ExecStart"][0] != "/usr/bin/countersign --config /etc/countersign/countersign.yaml serve" {
		t.Errorf("it runs %s, %s", u["ExecStart"], u["Type"])
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		storetest.Missing(t, "no systemd-analyze (Debian: apt-get install systemd): the unit is not verified")
	}
	file := filepath.Join(t.TempDir(), "countersign.service")
	here := strings.Replace(read(t, "countersign.service"), "/usr/bin/countersign ", "/bin/true ", 1) // it wants a program that is there
	if err := os.WriteFile(file, []byte(here), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || strings.Contains(string(out), file) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=15", file).CombinedOutput()
	if strings.Contains(string(out), "unrecognized option") {
		storetest.Missing(t, "systemd-analyze is older than 250: what the unit leaves the server is not looked at")
	}
	if err != nil {
		t.Errorf("the unit leaves the server more than it needs: %v\n%s", err, out)
	}
}

type composed struct {
	Services map[string]struct {
		Image           string
		Environment     map[string]string
		Command         []string
		Secrets         []string
		StopGracePeriod string `yaml:"stop_grace_period"`
		DependsOn       any    `yaml:"depends_on"`
		Networks        any
		Volumes         []string
		Healthcheck     struct{ Test []string }
	}
	Networks map[string]struct {
		IPAM struct {
			Config []struct {
				Subnet  string
				IPRange string `yaml:"ip_range"`
			}
		}
	}
	Volumes map[string]any
	Secrets map[string]struct{ File string }
}

func TestTheNodesOfTheComposeFile(t *testing.T) {
	var c composed
	text := strings.ReplaceAll(read(t, "compose.yaml"), "${COUNTERSIGN_PUBLIC_URL:-http://localhost:8080}", "http://localhost:8080")
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	balancer := c.Services["balancer"].Networks.(map[string]any)["inside"].(map[string]any)["ipv4_address"].(string)
	inside := c.Networks["inside"].IPAM.Config[0]
	subnet, given := netip.MustParsePrefix(inside.Subnet), netip.MustParsePrefix(inside.IPRange)
	if address := netip.MustParseAddr(balancer); !subnet.Contains(address) || given.Contains(address) || !subnet.Contains(given.Addr()) {
		t.Errorf("the balancer's %s is not in %s, or one that anybody gets (%s)", balancer, subnet, given)
	}
	haproxy := read(t, "haproxy.cfg")
	for _, name := range []string{"node1", "node2", "node3"} {
		n := c.Services[name]
		s := settings(t, "", n.Environment)
		if !slices.Equal(s.TrustedProxies, []string{balancer}) || !strings.HasPrefix(s.Database, "postgres://countersign@database/") {
			t.Errorf("%s trusts %s, and is at %s", name, s.TrustedProxies, s.Database)
		}
		if grace, err := time.ParseDuration(n.StopGracePeriod); err != nil || grace < s.DrainDelay+leaving {
			t.Errorf("%s is killed after %s (%v)", name, grace, err)
		}
		if !slices.Equal(n.Healthcheck.Test, []string{"CMD", "/usr/bin/countersign", "healthcheck"}) { // there is no shell
			t.Errorf("%s is asked how it is by %q", name, n.Healthcheck.Test)
		}
		if !strings.Contains(haproxy, "    server "+name+" "+name+":8080\n") {
			t.Errorf("haproxy.cfg knows no %s", name)
		}
		for _, secret := range n.Secrets {
			if c.Secrets[secret].File == "" || !strings.Contains(s.Database, "/run/secrets/"+secret) {
				t.Errorf("%s: nobody reads the secret %s", name, secret)
			}
		}
	}
	if d := c.Services["database"]; !slices.Contains(d.Command, "synchronous_commit=on") {
		t.Errorf("the database runs by %s", d.Command)
	}
	for _, s := range c.Services {
		for _, v := range s.Volumes {
			name, _, _ := strings.Cut(v, ":")
			if _, ok := c.Volumes[name]; !ok && !strings.HasPrefix(name, "./") {
				t.Errorf("no volume %s", name)
			}
		}
	}
}

// What the container file copies and asks for is there.
func TestTheContainerFile(t *testing.T) {
	text := read(t, "Containerfile")
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))
	if version == nil || !strings.Contains(text, "golang:"+version[1]+"-") {
		t.Errorf("it builds with another Go than %v", version)
	}
	var last string
	env := map[string]string{}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "FROM "); ok {
			last = strings.TrimSpace(rest)
		}
		if rest, ok := strings.CutPrefix(line, "ENV "); ok {
			for _, pair := range strings.Fields(rest) {
				name, value, _ := strings.Cut(pair, "=")
				env[name] = value
			}
		}
	}
	if last != "scratch" || !strings.Contains(text, "\nUSER 65532:65532\n") || !strings.Contains(text, `CMD ["/usr/bin/countersign", "healthcheck"]`) {
		t.Errorf("it makes an image of %s, or root's, or without a check", last)
	}
	if strings.Contains(text, "podman build ") && !strings.Contains(text, "podman build --format docker ") {
		t.Error("by its comment podman leaves the health check out")
	}
	if c := settings(t, "", env); c.Listen != ":8080" || c.Data != "/var/lib/countersign" {
		t.Errorf("it sets %+v", c)
	}
}

// What the examples of proxies do about a node that does not answer.
func TestTheExamplesOfProxies(t *testing.T) {
	value := func(file, pattern string) time.Duration {
		t.Helper()
		m := regexp.MustCompile(`(?m)^\s+[^#\n]*\b` + pattern + `\b`).FindStringSubmatch(read(t, file))
		if m == nil {
			t.Fatalf("%s lacks %s", file, pattern)
		}
		d, err := time.ParseDuration(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	drain := settings(t, "", nil).DrainDelay
	if alone := value("nginx.conf", `fail_timeout=(\w+)`); alone >= drain {
		t.Errorf("nginx leaves a node alone for %s: the next one may drain for %s alone", alone, drain)
	}
	nginx := read(t, "nginx.conf")
	if !strings.Contains(nginx, "proxy_next_upstream error timeout;") || value("nginx.conf", `proxy_connect_timeout (\w+)`) > 2*time.Second {
		t.Error("nginx waits for a machine that is gone, or sends a POST twice")
	}
	if dial, try := value("Caddyfile", `dial_timeout (\w+)`), value("Caddyfile", `lb_try_duration (\w+)`); 2*dial > try {
		t.Errorf("Caddy waits %s for a node, and %s for all", dial, try)
	}
	if value("Caddyfile", `response_header_timeout (\w+)`) > time.Minute {
		t.Error("Caddy waits for an answer until TCP gives up")
	}
}

// Scripts of the package are at least ones that a shell can read.
func TestTheScriptsOfThePackage(t *testing.T) {
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		if out, err := exec.Command("sh", "-n", "debian/"+name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if out, err := exec.Command("bash", "-n", "../scripts/deb").CombinedOutput(); err != nil {
		t.Errorf("scripts/deb: %v\n%s", err, out)
	}
}
