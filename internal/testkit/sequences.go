package testkit

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Sequences checks a property of sequences of requests, and goes on until they
// have come to everything wanted, which chance may take its time for. What
// five times as many do not come to, they do not test.
func Sequences(t *testing.T, reached map[string]int, wanted []string, property func(*rapid.T)) {
	t.Helper()
	var missing []string
	for range 5 {
		rapid.Check(t, property)
		missing = slices.DeleteFunc(slices.Clone(wanted), func(what string) bool { return reached[what] > 0 })
		if t.Failed() || len(missing) == 0 {
			break
		}
	}
	t.Logf("reached: %v", reached)
	for _, what := range missing {
		t.Errorf("nothing ever came to %q: the sequences are no test", what)
	}
}
