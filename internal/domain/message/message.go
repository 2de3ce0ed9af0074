// Package message holds what we tell people, and where to.
package message

import "time"

// A Channel is a way to reach someone.
type Channel string

// The channels.
const (
	Email Channel = "email"
	SMS   Channel = "sms"
)

// A State says how far a message has come.
type State string

// The states.
const (
	Queued State = "queued"
	Sent   State = "sent"
	Dead   State = "dead" // given up
)

// Lease is for how long a message belongs to whoever has claimed it: longer than
// an attempt and its record. Nobody else may take it meanwhile.
const Lease = 3 * time.Minute

// A Message is one mail or text message on its way.
type Message struct {
	ID                                   string
	Account                              string
	Channel                              Channel
	Kind                                 string
	To                                   string
	Subject, Text, HTML                  string
	Locale                               string
	Params                               map[string]string // of the text, for gateways that hold the template
	Charges                              []string          // counters that get their one back if the message dies
	CreatedAt, ExpiresAt, NextAt, SentAt time.Time         // a zero ExpiresAt means never
	Attempts                             int
	LastError                            string
	State                                State
}
