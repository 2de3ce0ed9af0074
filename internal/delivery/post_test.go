package delivery_test

import (
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"countersign/internal/delivery"
	"countersign/internal/domain/message"
	"countersign/internal/store/storetest"
)

// outcome waits until the worker has recorded one.
func (p *post) outcome() {
	p.t.Helper()
	select {
	case <-p.log.logged:
	case <-time.After(30 * time.Second):
		p.t.Fatal("nothing happened")
	}
}

// Store, worker and mail server together, in real time but for the store's.
func mailPost(t *testing.T, server *mailServer) (*post, *storetest.Clock, func()) {
	world := storetest.New(t, storetest.SQLite)
	p := newPost(t, world.DB, world.Clock.Now)
	wake := make(chan struct{})
	p.Wake = wake
	p.Senders[message.Email] = server.client()
	return p, world.Clock, func() { wake <- struct{}{} }
}

func TestMailIsTriedAgainAfterA4yz(t *testing.T) {
	t.Parallel()
	tries := 0
	server := (&mailServer{onRcpt: func(string) error {
		if tries++; tries == 1 {
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "greylisted, come back"}
		}
		return nil
	}}).start(t)
	p, clock, wake := mailPost(t, server)
	p.add(note())
	p.start()
	p.outcome()
	p.want(message.Queued, 1, "451")
	clock.Advance(time.Minute)
	wake()
	p.outcome()
	m := p.want(message.Sent, 2, "")
	header, _, _ := read(t, server.only(t).data)
	wantHeader(t, header, "Message-Id", "<"+m.ID+"@accounts.example>")
}

func TestUnknownMailboxIsGivenUp(t *testing.T) {
	t.Parallel()
	server := (&mailServer{onRcpt: func(to string) error {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "<" + to + ">: no such user"}
	}}).start(t)
	p, _, _ := mailPost(t, server)
	p.add(note())
	p.start()
	p.outcome()
	if m := p.want(message.Dead, 1, "550"); strings.Contains(m.LastError, "alice@") {
		t.Errorf("the reason quotes the recipient: %s", m.LastError)
	}
}

func TestMailWaitsForTheServerToComeBack(t *testing.T) {
	t.Parallel()
	server := &mailServer{tls: delivery.NoTLS, addr: unused(t)}
	p, clock, wake := mailPost(t, server)
	p.add(note())
	p.start()
	p.outcome()
	p.want(message.Queued, 1, "connect")
	server.startAt(t, server.addr)
	clock.Advance(time.Minute)
	wake()
	p.outcome()
	p.want(message.Sent, 2, "")
}
