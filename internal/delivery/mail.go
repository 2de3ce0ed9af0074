package delivery

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"countersign/internal/domain/message"
)

const (
	subjectLimit = 200 // runes; far from the 998 octets of a line (RFC 5322 §2.1.1)
	addressLimit = 254 // octets of a path without its brackets (RFC 5321 §4.5.3.1.3)
)

// recipient accepts a bare address alone: no name, no list, no group, nothing
// that a header or a command could end at.
func recipient(to string) (*mail.Address, error) {
	bad := errors.New("the recipient is not an address")
	if len(to) > addressLimit || strings.ContainsFunc(to, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return nil, bad
	}
	a, err := mail.ParseAddress(to)
	if err != nil || a.Name != "" || a.Address != to {
		return nil, bad
	}
	return a, nil
}

// subject returns s as one line. A line break is taken out rather than refused:
// whoever could slip one into a name could otherwise silence the warnings
// about it.
func subject(s string) string {
	// RFC 2047 §5: plain text that looks encoded would be decoded, and may then
	// hold what was taken out.
	s = strings.ReplaceAll(strings.TrimSpace(printable(s, ' ')), "=?", "= ?")
	if runes := []rune(s); len(runes) > subjectLimit {
		return string(runes[:subjectLimit-1]) + "…"
	}
	return s
}

// compose writes m as a mail, without anything that reports back to us.
func compose(m message.Message, from, to *mail.Address, now time.Time) (*gomail.Msg, error) {
	if m.Text == "" {
		return nil, errors.New("the message has no plain text")
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(from)
	msg.ToMailAddress(to)
	msg.Subject(subject(m.Subject))
	msg.SetDateWithValue(now)
	msg.SetMessageIDWithValue(messageID(m.ID, from.Address))
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834 §5: do not answer, we do not read
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

// messageID stays the same from attempt to attempt, so that a mail taken twice,
// because its receipt was lost (RFC 5321 §4.1.1.4), can be known as one.
func messageID(id, from string) string {
	return plainID(id) + from[strings.LastIndexByte(from, '@'):]
}

// plainID returns id fit for a header.
func plainID(id string) string {
	plain := func(r rune) bool {
		return r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_')
	}
	if id == "" || strings.ContainsFunc(id, func(r rune) bool { return !plain(r) }) {
		id = fmt.Sprintf("%x", id)
	}
	return id
}
