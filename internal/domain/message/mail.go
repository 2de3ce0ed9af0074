package message

import (
	_ "embed"
	"strings"
	"sync"

	template "github.com/DataDog/datadog-agent/pkg/template/html"

	"countersign/internal/locale"
)

//go:embed mail.html
var mailHTML string

// sheetHTML has no image and no address but ours: opening a mail tells nobody.
var sheetHTML = sync.OnceValue(func() *template.Template { return template.Must(template.New("mail").Parse(mailHTML)) })

// A part is a paragraph of a mail, or a link with what it is called.
type part struct {
	Lines       []string
	Facts       bool
	Link, Label string
}

// para is a paragraph.
func para(text string) part { return part{Lines: strings.Split(text, "\n")} }

// facts is a paragraph of what is known of an event.
func facts(text string) part { return part{Lines: strings.Split(text, "\n"), Facts: true} }

// button is a link, with what it is called.
func button(label, link string) part { return part{Link: link, Label: label} }

// write composes a mail of parts: the same words as plain text and as HTML.
func (s Service) write(m *Message, l *locale.Locale, subject string, parts ...part) {
	foot := []string{l.T("mail.footer", "Service", s.Name, "URL", s.URL)}
	if s.Contact != "" {
		foot = append(foot, l.T("mail.contact", "Contact", s.Contact))
	}
	var text []string
	for _, p := range parts {
		if p.Link != "" {
			text = append(text, p.Label+"\n"+p.Link)
			continue
		}
		text = append(text, strings.Join(p.Lines, "\n"))
	}
	m.Subject, m.Text = subject, strings.Join(append(text, foot...), "\n\n")+"\n"
	b := &strings.Builder{}
	err := sheetHTML().Execute(b, struct {
		Tag, Title string
		Parts      []part
		Foot       []string
	}{l.Tag, subject, parts, foot})
	if err == nil { // else the plain text does
		m.HTML = b.String()
	}
}
