package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"countersign/internal/delivery/smpp"
	"countersign/internal/domain/message"
)

// submittedLimit is how many parts of messages may wait for their receipts.
const submittedLimit = 10_000

// SMPP sends text messages through an SMSC, and logs what it later says it
// could not deliver.
type SMPP struct {
	config smpp.Config
	client *smpp.Client
	log    *slog.Logger

	mu      sync.Mutex
	sending int
	parts   map[string]*submitted // by the SMSC's id
	oldest  []string              // of parts, some of them gone
	early   []smpp.Receipt        // came while the answer with their id was on its way
}

// A submitted message is all that a line of the log needs of it.
type submitted struct {
	id, kind, to string // to is masked
	told         bool
}

// NewSMPP returns an SMPP that sends as c says. It takes the receipts to itself.
func NewSMPP(c smpp.Config) *SMPP {
	s := &SMPP{log: c.Log, parts: map[string]*submitted{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	c.Receipt = s.receipt
	s.config, s.client = c, smpp.New(c)
	return s
}

// Format keeps the password out of whatever prints an SMPP.
func (s *SMPP) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.config) }

// LogValue keeps the password out of the log.
func (s *SMPP) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// Validate says what is wrong with the setup, as far as it can be seen without
// connecting.
func (s *SMPP) Validate() error { return s.config.Validate() }

// Close ends the connection. It comes after the end of every Send, or ctx.
func (s *SMPP) Close(ctx context.Context) error { return s.client.Close(ctx) }

// Send hands m to the SMSC.
func (s *SMPP) Send(ctx context.Context, m message.Message) error {
	text, err := textMessage(m)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.sending++
	s.mu.Unlock()
	ids, err := s.client.Send(ctx, smpp.Submission{To: m.To, Text: text, Expires: m.ExpiresAt})
	s.sent(m, ids)

	var refused *smpp.StatusError
	coded := err
	if errors.As(err, &refused) {
		coded = codedError{refused.Status.String(), err}
	}
	switch {
	case err == nil:
		return nil
	case smpp.Permanent(err):
		return Permanent(coded)
	case smpp.Setup(err):
		return setupError{coded}
	}
	return coded
}

// sent remembers under which ids the parts of m will be reported.
func (s *SMPP) sent(m message.Message, ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending--
	of := &submitted{id: m.ID, kind: m.Kind, to: masked(m.To)}
	for _, id := range ids {
		s.parts[id] = of
		s.oldest = append(s.oldest, id)
	}
	for len(s.oldest) > submittedLimit {
		delete(s.parts, s.oldest[0])
		s.oldest = s.oldest[1:]
	}
	early := s.early
	s.early = nil
	for _, r := range early {
		s.match(r)
	}
}

func (s *SMPP) receipt(r smpp.Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.match(r)
}

// match finds out what r is about. The caller holds the lock.
func (s *SMPP) match(r smpp.Receipt) {
	failed := false
	switch r.State {
	case smpp.Delivered, smpp.Accepted:
	case smpp.Expired, smpp.Deleted, smpp.Undeliverable, smpp.Unknown, smpp.Rejected:
		failed = true
	default: // not the last word
		return
	}
	for _, id := range spellings(r.ID) {
		if of, known := s.parts[id]; known {
			delete(s.parts, id)
			if failed && !of.told { // once, of however many parts
				of.told = true
				s.undelivered(r, slog.String("id", of.id), slog.String("kind", of.kind), slog.String("to", of.to))
			}
			return
		}
	}
	switch {
	case s.sending > 0 && len(s.early) < submittedLimit:
		s.early = append(s.early, r)
	case failed: // sent before we were started
		s.undelivered(r)
	}
}

func (s *SMPP) undelivered(r smpp.Receipt, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("channel", string(message.SMS)), slog.String("smsc_id", printable(r.ID, ' ')),
		slog.String("state", r.State.String()), slog.String("code", numberLike().ReplaceAllString(printable(r.Code, ' '), "***")))
	s.log.LogAttrs(context.Background(), slog.LevelWarn, "message not delivered", attrs...)
}

// spellings returns id as it stands, then with its number in the other base:
// some SMSCs answer in hexadecimal and report in decimal, or the reverse.
func spellings(id string) []string {
	list := []string{id}
	if n, err := strconv.ParseUint(id, 10, 64); err == nil {
		hex := strconv.FormatUint(n, 16)
		list = append(list, hex, strings.ToUpper(hex), fmt.Sprintf("%08x", n), fmt.Sprintf("%08X", n))
	}
	if n, err := strconv.ParseUint(id, 16, 64); err == nil {
		list = append(list, strconv.FormatUint(n, 10), fmt.Sprintf("%010d", n))
	}
	return list
}
