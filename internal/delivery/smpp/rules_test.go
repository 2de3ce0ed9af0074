package smpp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestSenderTellsItsNumbering(t *testing.T) {
	t.Parallel()
	for sender, want := range map[string]string{
		"":                 " 0/0",
		"Countersign":      "Countersign 5/0",
		"My Site 24":       "My Site 24 5/0",
		"12345":            "12345 3/0",
		"12345678":         "12345678 3/0",
		"41791234567":      "41791234567 1/1",
		"+41791234567":     "41791234567 1/1",
		"+4179":            "4179 1/1",
		"Countersign!":     "error",
		"Zürich":           "error",
		"a\nb":             "error",
		"+41 79":           "error",
		"+":                "error",
		"0041791234567":    "error",
		"1234567890123456": "error",
	} {
		got := "error"
		if address, n, err := (Config{Source: sender}).source(); err == nil {
			got = fmt.Sprintf("%s %d/%d", address, n.TON, n.NPI)
		} else if sender != "+" && strings.Contains(err.Error(), sender) {
			t.Errorf("%q is in its error", sender)
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", sender, got, want)
		}
	}
	set := Config{Source: "+4912345", SourceNumbering: &Numbering{2, 8}}
	if address, n, err := set.source(); err != nil || address != "+4912345" || n != (Numbering{2, 8}) {
		t.Errorf("set by hand: %q, %v, %v", address, n, err)
	}
	set = Config{Source: "+4912345", SourceNumbering: &Numbering{1, 1}}
	if address, _, _ := set.source(); address != "4912345" {
		t.Errorf("set by hand to E.164: %q", address)
	}
}

func TestDestinationIsE164(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"+41791234567", "41791234567", "+123456789012345"} {
		if got, err := destination(to); err != nil || got != strings.TrimPrefix(to, "+") {
			t.Errorf("%s: %q, %v", to, got, err)
		}
	}
	for _, to := range []string{"", "+", "0791234567", "+41 79 123 45 67", "+1234567890123456", "++41791234567", "alice", "+417912345٦"} {
		if got, err := destination(to); !errors.Is(err, ErrDestination) || !Permanent(err) {
			t.Errorf("%s: %q, %v", to, got, err)
		}
	}
}

func TestValidityIsRelative(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	for left, want := range map[time.Duration]string{
		time.Nanosecond:              "000000000001000R",
		10 * time.Minute:             "000000001000000R",
		90*time.Minute + time.Second: "000000013001000R",
		50 * time.Hour:               "000002020000000R",
		24*time.Hour - 1:             "000001000000000R",
		1000 * time.Hour:             "000030000000000R",
	} {
		if got, err := validity(now.Add(left), now); err != nil || got != want {
			t.Errorf("%v: %q, %v, want %s", left, got, err, want)
		}
	}
	if got, err := validity(time.Time{}, now); err != nil || got != "" {
		t.Errorf("no expiry: %q, %v", got, err)
	}
	if _, err := validity(now, now); !errors.Is(err, ErrExpired) || !Permanent(err) {
		t.Errorf("expired now: %v", err)
	}
}

func TestStatusSaysWhoCanCureIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status           Status
		bind             bool
		permanent, setup bool
	}{
		{0x0A, false, true, false}, {0x0B, false, true, false}, {0x01, false, true, false}, {0x62, false, true, false},
		{0x50, false, true, false}, {0x66, false, true, false}, {0xC4, false, true, false},
		{0x45, false, false, false}, {0x08, false, false, false}, {0x14, false, false, false}, {0x58, false, false, false},
		{0x04, false, false, false}, {0xFF, false, false, false}, {0x400, false, false, false}, {0xFFFFFFFF, false, false, false},
		{0x48, false, false, true}, {0x15, false, false, true}, {0x03, false, false, true},
		{0x0D, true, false, true}, {0x0E, true, false, true}, {0x0F, true, false, true}, {0x0B, true, false, true},
		{0x400, true, false, true}, {0x05, true, false, false}, {0x08, true, false, false}, {0x58, true, false, false},
	} {
		command := map[bool]string{true: "bind_transceiver", false: "submit_sm"}[c.bind]
		err := fmt.Errorf("sending: %w", &PartialError{Err: &StatusError{command, c.status}})
		if Permanent(err) != c.permanent || Setup(err) != c.setup {
			t.Errorf("%v (bind: %v): permanent %v, setup %v", c.status, c.bind, Permanent(err), Setup(err))
		}
	}
	for status, s := range statuses {
		if !strings.HasPrefix(s.name, "ESME_R") || !strings.HasPrefix(status.String(), s.name+" (0x") {
			t.Errorf("0x%02X: %v", uint32(status), status)
		}
	}
	if got := (&StatusError{Command: "submit_sm", Status: Throttled}).Error(); got != "submit_sm: ESME_RTHROTTLED (0x58)" {
		t.Error(got)
	}
	if got := Status(0x401).String(); got != "status 0x00000401" {
		t.Error(got)
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	good := Config{Address: "smsc.example:2775", SystemID: "us", Password: "pa55word", Now: time.Now}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"not host:port":          func(c *Config) { c.Address = "smsc.example" },
		"no such port":           func(c *Config) { c.Address = "smsc.example:0" },
		"no system_id":           func(c *Config) { c.SystemID = "" },
		"system_id has more":     func(c *Config) { c.SystemID = "1234567890123456" },
		"password has more":      func(c *Config) { c.Password = "pa55words" },
		"password has a NUL":     func(c *Config) { c.Password = "pa\x00" },
		"system_type has more":   func(c *Config) { c.SystemType = "1234567890123" },
		"sender is neither":      func(c *Config) { c.Source = "Countersigned" },
		"alphabet \"ascii\"":     func(c *Config) { c.Alphabet = "ascii" },
		"window 1001":            func(c *Config) { c.Window = 1001 },
		"window -1":              func(c *Config) { c.Window = -1 },
		"response timeout below": func(c *Config) { c.ResponseTimeout = -1 },
		"no clock":               func(c *Config) { c.Now = nil },
	} {
		c := good
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pa55") {
			t.Errorf("want %q, got %v", want, err)
		}
		if _, err := New(c).Send(t.Context(), Submission{To: "+41791234567"}); !Setup(err) || Permanent(err) {
			t.Errorf("%s: Send: %v", want, err)
		}
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format+format, good, New(good)); strings.Contains(got, "pa55") {
			t.Errorf("%s: %s", format, got)
		}
	}
}

func TestReceiptIsReadFromTextAndParameters(t *testing.T) {
	t.Parallel()
	const appendixB = "id:0123456789 sub:001 dlvrd:001 submit date:2603140926 done date:2603140927 stat:DELIVRD err:000 text:Your code is 482915"
	full := Receipt{
		ID: "0123456789", State: Delivered, Submitted: 1, Arrived: 1, Code: "000",
		SentAt: time.Date(2026, 3, 14, 9, 26, 0, 0, time.UTC), At: time.Date(2026, 3, 14, 9, 27, 0, 0, time.UTC),
	}
	stat := func(id string, s State) Receipt { return Receipt{ID: id, State: s, Submitted: -1, Arrived: -1} }
	for _, c := range []struct {
		name  string
		esm   byte
		text  string
		tlvs  []tlv
		want  Receipt
		other bool
	}{
		{name: "Appendix B", esm: 4, text: appendixB, want: full},
		{name: "in message_payload", esm: 4, tlvs: []tlv{{tagMessagePayload, []byte(appendixB)}}, want: full},
		{name: "intermediate", esm: 0x20, text: "id:7 stat:ENROUTE", want: stat("7", Enroute)},
		{name: "beside other bits of esm_class", esm: 0x44, text: "id:7 stat:EXPIRED", want: stat("7", Expired)},
		{name: "capitals and another order", esm: 4, text: "STAT:undeliv ID:ab-7", want: stat("ab-7", Undeliverable)},
		{name: "a text that looks like fields", esm: 4, text: "id:7 stat:REJECTD text:id:8 stat:DELIVRD", want: stat("7", Rejected)},
		{name: "parameters count more", esm: 4, text: "id:7 stat:DELIVRD", want: stat("9f", Undeliverable),
			tlvs: []tlv{{tagReceiptedMessageID, []byte("9f\x00")}, {tagMessageState, []byte{5}}}},
		{name: "parameters alone, esm_class 0", tlvs: []tlv{{tagReceiptedMessageID, []byte("9f")}, {tagMessageState, []byte{2}}}, want: stat("9f", Delivered)},
		{name: "a state of the future", esm: 4, text: "id:7 stat:TELEPRT", want: stat("7", 0)},
		{name: "seconds", esm: 4, text: "id:7 done date:260314092755", want: Receipt{ID: "7", Submitted: -1, Arrived: -1, At: time.Date(2026, 3, 14, 9, 27, 55, 0, time.UTC)}},
		{name: "nonsense in fields", esm: 4, text: "id:7 sub:x dlvrd: done date:99 err:\x01", want: stat("7", 0)},
		{name: "no id", esm: 4, text: "stat:DELIVRD", other: true},
		{name: "an id that would break a line", esm: 4, tlvs: []tlv{{tagReceiptedMessageID, []byte("a\nb")}}, other: true},
		{name: "somebody writes to us", text: appendixB, other: true},
	} {
		got, ok := receipt(&pdu{command: deliverSM, body: &messageBody{esmClass: c.esm, shortMessage: []byte(c.text)}, tlvs: c.tlvs})
		if ok == c.other || (ok && got != c.want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", c.name, ok, got, c.want)
		}
	}
	if Delivered.String() != "DELIVRD" || State(0).String() != "state 0" || State(9).String() != "state 9" {
		t.Error(Delivered, State(0), State(9))
	}
}
