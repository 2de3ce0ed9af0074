package throttle_test

import (
	"net/netip"
	"testing"

	"countersign/internal/domain/throttle"
)

func TestSourcesAreCountedByNetwork(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"203.0.113.7":             "203.0.113.0/24",
		"203.0.113.250":           "203.0.113.0/24",
		"203.0.114.7":             "203.0.114.0/24",
		"::ffff:203.0.113.9":      "203.0.113.0/24",
		"::ffff:203.0.113.9%eth0": "203.0.113.0/24",
		"2001:db8:1:2:3:4:5:6":    "2001:db8:1::/48",
		"2001:db8:1:ffff::1":      "2001:db8:1::/48",
		"2001:db8:2::1":           "2001:db8:2::/48",
		"fe80::1%eth0":            "fe80::/48",
		"fe80::2%eth1":            "fe80::/48",
		"::1":                     "::/48",
	} {
		if got := throttle.Network(netip.MustParseAddr(source)); got.String() != want {
			t.Errorf("%s is counted under %s, want %s", source, got, want)
		}
	}
	if got := throttle.Network(netip.Addr{}); got != (netip.Prefix{}) {
		t.Errorf("no address is counted under %s, want the zero prefix", got)
	}
}
