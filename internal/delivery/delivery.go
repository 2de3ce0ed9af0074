// Package delivery empties the outbox: it hands each queued message to the
// sender of its channel and remembers how that went.
package delivery

import (
	"context"
	"errors"
	"time"

	"countersign/internal/domain/message"
)

// A Sender takes one message to its recipient. It returns nil only when
// somebody else has taken charge of the message, stops soon after ctx ends,
// and marks with Permanent what no later attempt can cure. Its errors may
// quote the recipient and the message: the Worker takes that out.
type Sender interface {
	Send(ctx context.Context, m message.Message) error
}

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks err as one that no later attempt can cure. Every other error
// of a sender is temporary.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// IsPermanent reports whether err was marked with Permanent.
func IsPermanent(err error) bool {
	var p permanentError
	return errors.As(err, &p)
}

// A setupError is temporary, because only the operator can cure it and the
// message is innocent; it is logged louder than a server that is merely busy.
type setupError struct{ error }

func (e setupError) Unwrap() error { return e.error }

func isSetup(err error) bool {
	var s setupError
	return errors.As(err, &s)
}

// A laterError is temporary, and asks for a wait before the next attempt.
type laterError struct {
	wait time.Duration
	error
}

func (e laterError) Unwrap() error { return e.error }

// A codedError carries a gateway's own name for what went wrong: one of a
// known set, in which there is nothing of the message.
type codedError struct {
	code string
	error
}

func (e codedError) Error() string { return e.code + ": " + e.error.Error() }

func (e codedError) Unwrap() error { return e.error }
