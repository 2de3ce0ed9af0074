package smpp

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A State is what became of a message (SMPP 3.4 §5.2.28).
type State byte

// The states, with the words of Appendix B for them.
const (
	Enroute       State = 1 // ENROUTE; the only one that is not final, with Accepted
	Delivered     State = 2 // DELIVRD
	Expired       State = 3 // EXPIRED
	Deleted       State = 4 // DELETED
	Undeliverable State = 5 // UNDELIV
	Accepted      State = 6 // ACCEPTD; read on behalf of the subscriber by customer service
	Unknown       State = 7 // UNKNOWN
	Rejected      State = 8 // REJECTD
)

var stateWords = []string{
	Enroute: "ENROUTE", Delivered: "DELIVRD", Expired: "EXPIRED", Deleted: "DELETED",
	Undeliverable: "UNDELIV", Accepted: "ACCEPTD", Unknown: "UNKNOWN", Rejected: "REJECTD",
}

// String returns the word of Appendix B.
func (s State) String() string {
	if s > 0 && int(s) < len(stateWords) {
		return stateWords[s]
	}
	return "state " + strconv.Itoa(int(s))
}

// A Receipt is an SMSC's word on what became of one submitted part (SMPP 3.4
// Appendix B, and the optional parameters receipted_message_id and
// message_state, which count more). The beginning of the message, which an
// SMSC repeats in it, is left out.
type Receipt struct {
	ID        string    // as Send returned it; some SMSCs write one of the two in hexadecimal
	State     State     // 0: not told
	Submitted int       // messages in the beginning ("sub"); -1: not told
	Arrived   int       // and how many of them were delivered ("dlvrd"); -1: not told
	At        time.Time // when the state was reached ("done date"), by the SMSC's own clock, as if UTC; zero: not told
	SentAt    time.Time // when the message was submitted ("submit date"), likewise
	Code      string    // the network's or the SMSC's own ("err"), mostly three digits
}

var (
	receiptField = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)\b(id|sub|dlvrd|submit date|done date|stat|err|text):`)
	})
	receiptWord = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[!-~]{1,64}$`) })
)

const (
	esmType         = 0x3C // bits of esm_class (SMPP 3.4 §5.2.12)
	esmReceipt      = 0x04
	esmIntermediate = 0x20
)

// receipt reads a deliver_sm. It returns false for what is no receipt: a
// message that somebody wrote to us.
func receipt(p *pdu) (Receipt, bool) {
	m, ok := p.body.(*messageBody)
	if !ok {
		return Receipt{}, false
	}
	id, hasID := p.value(tagReceiptedMessageID)
	if kind := m.esmClass & esmType; kind != esmReceipt && kind != esmIntermediate && !hasID {
		return Receipt{}, false
	}
	text := m.shortMessage
	if payload, ok := p.value(tagMessagePayload); ok && len(text) == 0 {
		text = payload
	}
	r := receiptText(string(text))
	if word := strings.TrimRight(string(id), "\x00"); receiptWord().MatchString(word) {
		r.ID = word
	}
	if state, ok := p.value(tagMessageState); ok && len(state) == 1 && state[0] != 0 {
		r.State = State(state[0])
	}
	return r, r.ID != ""
}

// receiptText reads the text of Appendix B. Fields may be missing, or come in
// another order; nothing after text: is read.
func receiptText(text string) Receipt {
	r := Receipt{Submitted: -1, Arrived: -1}
	at := receiptField().FindAllStringSubmatchIndex(text, -1)
	for i, m := range at {
		name := strings.ToLower(text[m[2]:m[3]])
		if name == "text" {
			break
		}
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		value := strings.TrimSpace(text[m[1]:end])
		if receiptWord().MatchString(value) {
			r.set(name, value)
		}
	}
	return r
}

func (r *Receipt) set(name, value string) {
	switch name {
	case "id":
		r.ID = value
	case "sub":
		r.Submitted = count(value)
	case "dlvrd":
		r.Arrived = count(value)
	case "submit date":
		r.SentAt = date(value)
	case "done date":
		r.At = date(value)
	case "stat":
		for state, word := range stateWords {
			if word != "" && strings.EqualFold(word, value) {
				r.State = State(state)
			}
		}
	case "err":
		r.Code = value
	}
}

func count(s string) int {
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		return int(n)
	}
	return -1
}

// date reads YYMMDDhhmm, and the seconds that many SMSCs add.
func date(s string) time.Time {
	for _, layout := range []string{"0601021504", "060102150405"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}
