// Package locale turns fault codes and message keys into sentences.
package locale

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/language"

	"countersign/internal/fault"
)

//go:embed messages
var messages embed.FS

// A Locale is one language that people can choose.
type Locale struct {
	Tag  string // BCP 47, as in <html lang>
	Name string // in itself

	messages func() map[string]message // read when first asked for
}

// A message is one sentence or more in one language. {{.Name}} stands for a
// value. One is for a Count of 1, if the language speaks differently then: of
// the plural categories of CLDR the languages here have no others.
type message struct{ One, Other string }

// UnmarshalJSON reads a message: a string, or an object of its forms.
func (m *message) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, &m.Other)
	}
	type forms message
	return json.Unmarshal(b, (*forms)(m))
}

// All are the languages, the first of which is the one for everybody else.
var All = []*Locale{
	{Tag: "en", Name: "English"},
	{Tag: "zh-CN", Name: "简体中文"},
	{Tag: "ja", Name: "日本語"},
}

var matcher = sync.OnceValue(func() language.Matcher {
	tags := make([]language.Tag, len(All))
	for i, l := range All {
		tags[i] = language.MustParse(l.Tag)
	}
	return language.NewMatcher(tags)
})

func init() {
	for _, l := range All {
		l.messages = sync.OnceValue(func() map[string]message {
			text, err := messages.ReadFile(path.Join("messages", l.Tag+".json"))
			var read map[string]message
			if err == nil {
				err = json.Unmarshal(text, &read)
			}
			if err != nil {
				panic(fmt.Sprintf("locale: %v", err)) // embedded: a broken build
			}
			return read
		})
	}
}

// Get returns the language with exactly the tag given, or nil.
func Get(tag string) *Locale {
	for _, l := range All {
		if l.Tag == tag {
			return l
		}
	}
	return nil
}

// Match returns the first of the tags chosen that we have, else the best for
// an Accept-Language header (RFC 9110 §12.5.4).
func Match(acceptLanguage string, chosen ...string) *Locale {
	for _, tag := range chosen {
		if l := Get(tag); l != nil {
			return l
		}
	}
	wanted, _, err := language.ParseAcceptLanguage(acceptLanguage)
	if err != nil || len(wanted) == 0 {
		return All[0]
	}
	_, i, confidence := matcher().Match(wanted...)
	if confidence == language.No {
		return All[0]
	}
	return All[i]
}

// T returns the sentence for key. args are names and values in turn that the
// sentence mentions; the value named Count chooses the plural.
func (l *Locale) T(key string, args ...any) string {
	values := make(map[string]any, len(args)/2)
	for i := 0; i+1 < len(args); i += 2 {
		values[fmt.Sprint(args[i])] = args[i+1]
	}
	return l.translate(key, values)
}

func (l *Locale) translate(key string, values map[string]any) string {
	m, ok := l.messages()[key]
	switch {
	case !ok && l != All[0]:
		return All[0].translate(key, values)
	case !ok:
		return "[" + key + "]" // a test sees to it that there is none
	}
	if n, ok := values["Count"]; ok && m.One != "" && fmt.Sprint(n) == "1" {
		return expand(m.One, values)
	}
	return expand(m.Other, values)
}

// expand puts values in their places.
func expand(text string, values map[string]any) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{.")
		b.WriteString(before)
		name, after, closed := strings.Cut(rest, "}}")
		if !found || !closed {
			return b.String()
		}
		fmt.Fprint(&b, values[name])
		text = after
	}
}

// Has reports whether there is a sentence for key.
func (l *Locale) Has(key string) bool {
	_, ok := l.messages()[key]
	return ok
}

// Fault returns what to tell people about a refusal.
func (l *Locale) Fault(f *fault.Fault) string {
	values := f.Args
	if n, ok := values["Minutes"]; ok {
		values = map[string]any{"Count": n}
		for k, v := range f.Args {
			values[k] = v
		}
	}
	return l.translate("fault."+f.Code, values)
}

// Time writes an instant as people in this language do, with its zone.
func (l *Locale) Time(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	t = t.UTC()
	switch l.Tag {
	case "zh-CN":
		return t.Format("2006年1月2日 15:04 MST")
	case "ja":
		return t.Format("2006年1月2日 15:04 MST")
	}
	return t.Format("2 January 2006, 15:04 MST")
}
