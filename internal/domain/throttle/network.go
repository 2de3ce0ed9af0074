package throttle

import "net/netip"

// What one visitor can usually pick addresses from.
const (
	bits4 = 24
	bits6 = 48
)

// Network returns the network a source address is counted under: IPv4 /24,
// IPv6 /48. An IPv4 address written as IPv6 counts as IPv4, and zones are
// dropped. Addresses that are not valid share the zero Prefix.
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := bits6
	if a.Is4() {
		bits = bits4
	}
	network, err := a.Prefix(bits)
	if err != nil { // only for more bits than the address has
		panic(err)
	}
	return network
}
