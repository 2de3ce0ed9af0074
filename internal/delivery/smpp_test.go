package delivery_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"countersign/internal/delivery"
	"countersign/internal/delivery/smpp"
	"countersign/internal/domain/message"
)

// An smsc binds whoever comes, and answers each submit_sm with the next of its
// statuses and message ids.
type smsc struct {
	bind     uint32 // status
	statuses []uint32
	ids      []string
	before   func(id string) // is called before the answer goes out

	mu   sync.Mutex
	conn net.Conn
	got  []string // short messages
}

func (s *smsc) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	s.mu.Lock()
	s.conn = theirs
	s.mu.Unlock()
	go s.serve(theirs)
	return ours, nil
}

func (s *smsc) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var header [4]uint32
		if binary.Read(conn, binary.BigEndian, &header) != nil {
			return
		}
		body := make([]byte, header[0]-16)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		status, answer := uint32(0), ""
		switch header[1] {
		case 0x09: // bind_transceiver
			status, answer = s.bind, "smsc\x00"
		case 0x04: // submit_sm
			s.got = append(s.got, string(body))
			status, s.statuses = s.statuses[0], s.statuses[1:]
			if status == 0 {
				answer, s.ids = s.ids[0]+"\x00", s.ids[1:]
				if s.before != nil {
					s.before(strings.TrimSuffix(answer, "\x00"))
				}
			}
		}
		if header[1] < 0x80000000 {
			s.write(header[1]|0x80000000, status, header[3], answer)
		}
	}
}

func (s *smsc) write(command, status, sequence uint32, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pdu := binary.BigEndian.AppendUint32(nil, uint32(16+len(body)))
	for _, n := range []uint32{command, status, sequence} {
		pdu = binary.BigEndian.AppendUint32(pdu, n)
	}
	_, _ = s.conn.Write(append(pdu, body...))
}

// reports sends a delivery receipt in a deliver_sm (SMPP 3.4 Appendix B).
func (s *smsc) reports(id, state string) {
	text := fmt.Sprintf("id:%s sub:001 dlvrd:000 submit date:2603011200 done date:2603011201 stat:%s err:013 text:Your code is 482915", id, state)
	s.write(0x05, 0, 77, "\x00\x01\x0113800138000\x00\x01\x01us\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00"+string([]byte{byte(len(text))})+text)
}

func withSMSC(t *testing.T, s *smsc, f func(t *testing.T, sender *delivery.SMPP, log *lines)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := &lines{logged: make(chan struct{}, 100)}
		sender := delivery.NewSMPP(smpp.Config{
			Address: "smsc.example:2775", SystemID: "us", Password: "pa55word", Source: "Acme",
			Log: slog.New(slog.NewJSONHandler(log, nil)), Now: time.Now, Dial: s.dial,
		})
		if err := sender.Validate(); err != nil {
			t.Fatal(err)
		}
		f(t, sender, log)
		synctest.Wait()
		if err := sender.Close(t.Context()); err != nil {
			t.Error(err)
		}
		for _, secret := range []string{"13800138000", "482915", "pa55word", "nobody"} {
			if strings.Contains(log.String(), secret) || strings.Contains(fmt.Sprintf("%v %+v %#v", sender, sender, sender), secret) {
				t.Errorf("%s is in %s", secret, log)
			}
		}
	})
}

func brief() message.Message {
	m := text()
	m.Text, m.ExpiresAt = "Your code is 482915, tell nobody.", time.Time{}
	return m
}

func TestMessagesGoToTheSMSC(t *testing.T) {
	s := &smsc{statuses: []uint32{0}, ids: []string{"1a2b"}}
	withSMSC(t, s, func(t *testing.T, sender *delivery.SMPP, _ *lines) {
		wantClass(t, sender.Send(t.Context(), brief()), taken)
		if len(s.got) != 1 || !strings.Contains(s.got[0], "13800138000\x00") || !strings.HasSuffix(s.got[0], "Your code is 482915, tell nobody.") {
			t.Errorf("submitted %q", s.got)
		}
		m := brief()
		m.To = "13800138000"
		wantClass(t, sender.Send(t.Context(), m), permanent)
	})
}

func TestStatusesOfTheSMSCAreUnderstood(t *testing.T) {
	for status, want := range map[uint32]string{0x0B: permanent, 0x48: setup, 0x08: later, 0x14: later, 0x401: later} {
		withSMSC(t, &smsc{statuses: []uint32{status}}, func(t *testing.T, sender *delivery.SMPP, _ *lines) {
			err := sender.Send(t.Context(), brief())
			wantClass(t, err, want)
			if name := smpp.Status(status).String(); !strings.HasPrefix(fmt.Sprint(err), name+": ") {
				t.Errorf("%s is not told first: %v", name, err)
			}
		})
	}
	withSMSC(t, &smsc{bind: 0x0E}, func(t *testing.T, sender *delivery.SMPP, _ *lines) {
		wantClass(t, sender.Send(t.Context(), brief()), setup)
	})
}

func TestWhatTheSMSCCouldNotDeliverIsLoggedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		ids    []string
		long   bool
		report func(s *smsc)
		lines  int
		known  bool
	}{
		"delivered":       {[]string{"7"}, false, func(s *smsc) { s.reports("7", "DELIVRD") }, 0, false},
		"under way":       {[]string{"7"}, false, func(s *smsc) { s.reports("7", "ENROUTE") }, 0, false},
		"undeliverable":   {[]string{"7"}, false, func(s *smsc) { s.reports("7", "UNDELIV") }, 1, true},
		"first under way": {[]string{"7"}, false, func(s *smsc) { s.reports("7", "ENROUTE"); s.reports("7", "EXPIRED") }, 1, true},
		"in hexadecimal":  {[]string{"1a2b"}, false, func(s *smsc) { s.reports("6699", "REJECTD") }, 1, true},
		"padded":          {[]string{"00001A2B"}, false, func(s *smsc) { s.reports("6699", "REJECTD") }, 1, true},
		"in decimal":      {[]string{"6699"}, false, func(s *smsc) { s.reports("1A2B", "DELETED") }, 1, true},
		"two parts":       {[]string{"7", "8"}, true, func(s *smsc) { s.reports("7", "UNDELIV"); s.reports("8", "UNDELIV") }, 1, true},
		"second part":     {[]string{"7", "8"}, true, func(s *smsc) { s.reports("7", "DELIVRD"); s.reports("8", "UNDELIV") }, 1, true},
		"another's":       {[]string{"7"}, false, func(s *smsc) { s.reports("x9", "UNDELIV") }, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &smsc{statuses: []uint32{0, 0}, ids: test.ids}
			withSMSC(t, s, func(t *testing.T, sender *delivery.SMPP, log *lines) {
				m := brief()
				if test.long {
					m.Text += strings.Repeat(" And more of it.", 10)
				}
				wantClass(t, sender.Send(t.Context(), m), taken)
				test.report(s)
				synctest.Wait()
				said := log.String()
				if n := strings.Count(said, "message not delivered"); n != test.lines {
					t.Errorf("%d lines, want %d: %s", n, test.lines, said)
				}
				if known := strings.Contains(said, `"id":"m1","kind":"code","to":"***00","channel":"sms"`); known != test.known {
					t.Errorf("known: %v: %s", known, said)
				}
			})
		})
	}
}

// The SMSC may report before its answer tells us the id.
func TestReceiptThatComesEarlyIsMatched(t *testing.T) {
	s := &smsc{statuses: []uint32{0}, ids: []string{"7"}}
	s.before = func(id string) {
		s.reports("x9", "UNDELIV")
		s.reports(id, "UNDELIV")
	}
	withSMSC(t, s, func(t *testing.T, sender *delivery.SMPP, log *lines) {
		wantClass(t, sender.Send(t.Context(), brief()), taken)
		synctest.Wait()
		if said := log.String(); strings.Count(said, "message not delivered") != 2 || strings.Count(said, `"id":"m1"`) != 1 {
			t.Error(said)
		}
	})
}
