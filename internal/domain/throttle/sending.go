package throttle

import (
	"slices"
	"time"
)

// A Limit bounds how often something is counted under Scope within In.
type Limit struct {
	Scope string
	N     int
	In    time.Duration
	Spent bool   // stays counted when the message could not be sent
	Alarm string // what the operator is told when the limit is reached; empty: nothing
}

// A Window is what was counted under a scope, until it ends.
type Window struct {
	Scope   string
	Counted int
	Ends    time.Time
}

// A Sending is one message that somebody wants sent.
type Sending struct {
	Ceremony    string
	Device      string // id of the known device; empty: unknown
	Destination string // key of the address or number
	Payer       string // the account, or the network where there is none yet
	Network     string

	// Of text messages alone: they cost money, and someone may earn by it.
	Text    bool
	New     bool   // the number has not proved itself yet: where the fraud is
	Prefix  string // the number without its last digits
	Country string
}

// Limits of what is sent (security requirements, OOB-04).
const (
	ResendAfter         = time.Minute
	SendsPerCeremony    = 10 // messages that died included
	DestinationPerHour  = 5
	PayerPerDay         = 100
	TextPerNumberDay    = 10
	TextNewPerNetwork   = 10 // in an hour, to numbers that have not proved themselves
	TextNewPerPrefix    = 20 // in a day
	TextBoundPerNetwork = 200
	TextBoundPerPrefix  = 500
)

// A Ceiling is what the operator lets be sent in a day.
type Ceiling struct {
	All     int // codes, by any way
	Text    int // text messages
	Country int // text messages to one country
}

const day = 24 * time.Hour

// ResendScope counts the sends of a ceremony, so that the next one waits.
func ResendScope(ceremony string) string { return "resend:" + ceremony }

// Limits are all that a sending must be within, the cheapest to fail first.
func (s Sending) Limits(c Ceiling) []Limit {
	destination, payer := s.Destination, s.Payer
	if s.Device != "" { // whoever uses up the sends of unknown devices must not stop its owner
		destination, payer = "device:"+s.Device+":"+destination, "device:"+s.Device
	}
	list := []Limit{
		{Scope: ResendScope(s.Ceremony), N: 1, In: ResendAfter},
		{Scope: "sends:ceremony:" + s.Ceremony, N: SendsPerCeremony, In: time.Hour, Spent: true},
		{Scope: "sends:" + destination, N: DestinationPerHour, In: time.Hour},
		{Scope: "sends:" + payer, N: PayerPerDay, In: day},
	}
	if s.Text {
		network, prefix, kind := TextBoundPerNetwork, TextBoundPerPrefix, "bound:"
		if s.New {
			network, prefix, kind = TextNewPerNetwork, TextNewPerPrefix, "new:"
		}
		list = append(list,
			Limit{Scope: "texts:" + destination, N: TextPerNumberDay, In: day},
			Limit{Scope: "texts:" + kind + s.Network, N: network, In: time.Hour, Spent: true, Alarm: "network"},
			Limit{Scope: "texts:" + kind + s.Prefix, N: prefix, In: day, Spent: true, Alarm: "prefix"},
			Limit{Scope: CountryScope(s.Country), N: c.Country, In: day, Spent: true, Alarm: "country"},
			Limit{Scope: TextScope, N: c.Text, In: day, Spent: true, Alarm: "total"})
	}
	return append(list, Limit{Scope: SendScope, N: c.All, In: day, Spent: true, Alarm: "all"})
}

// Scopes that the operator looks at.
const (
	SendScope = "sends:all"
	TextScope = "texts:all"
)

// CountryScope counts the text messages to a country.
func CountryScope(country string) string { return "texts:country:" + country }

// Refundable are the scopes that get their one back when the message could
// not be sent: those that bound a person, not those that bound the cost.
func Refundable(limits []Limit) (scopes []string) {
	for _, l := range limits {
		if !l.Spent {
			scopes = append(scopes, l.Scope)
		}
	}
	return slices.Clip(scopes)
}
