package request

import (
	"maps"
	"net/url"
	"slices"
)

// FormOf is a form that was read before and kept.
func FormOf(values map[string][]string) Form { return Form{url.Values(values)} }

// With is the form with one field more, or that field anew.
func (f Form) With(name string, values ...string) Form {
	with := url.Values(maps.Clone(f.values))
	if with == nil {
		with = url.Values{}
	}
	with[name] = values
	return Form{with}
}

// Keep returns the fields of the form that may be kept, as drop leaves them.
func (f Form) Keep(drop func(name string) bool) map[string][]string {
	kept := map[string][]string{}
	for name, values := range f.values {
		if !drop(name) {
			kept[name] = slices.Clone(values)
		}
	}
	return kept
}
