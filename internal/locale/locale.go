// Package locale turns fault codes and message keys into sentences.
package locale

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"sync"
	"time"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"

	"countersign/internal/fault"
)

//go:embed messages
var messages embed.FS

// A Locale is one language that people can choose.
type Locale struct {
	Tag  string // BCP 47, as in <html lang>
	Name string // in itself

	localizer func() *i18n.Localizer // read when first asked for
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
		l.localizer = sync.OnceValue(func() *i18n.Localizer {
			bundle := i18n.NewBundle(language.MustParse(l.Tag))
			bundle.RegisterUnmarshalFunc("json", json.Unmarshal)
			if _, err := bundle.LoadMessageFileFS(messages, path.Join("messages", l.Tag+".json")); err != nil {
				panic(fmt.Sprintf("locale: %v", err)) // embedded: a broken build
			}
			return i18n.NewLocalizer(bundle, l.Tag)
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
	c := &i18n.LocalizeConfig{MessageID: key, TemplateData: values}
	if n, ok := values["Count"]; ok {
		c.PluralCount = n
	}
	s, err := l.localizer().Localize(c)
	if err != nil && s == "" && l != All[0] {
		return All[0].translate(key, values)
	}
	if err != nil && s == "" {
		return "[" + key + "]" // a test sees to it that there is none
	}
	return s
}

// Has reports whether there is a sentence for key.
func (l *Locale) Has(key string) bool {
	_, err := l.localizer().Localize(&i18n.LocalizeConfig{MessageID: key, TemplateData: map[string]any{}, PluralCount: 2})
	return err == nil
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
