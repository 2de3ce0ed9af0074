package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"countersign/internal/config"
)

// The table of settings in the README has a row for each, with its names, its
// default and its sentence.
func TestReadmeHasEverySetting(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLine()
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, "| `--") {
			rows[strings.TrimSpace(line)] = true
		}
	}
	for _, o := range l.options {
		name := o.LongNameWithNamespace()
		key := strings.ReplaceAll(name, "-", "_")
		for _, group := range []string{"quota", "passkey", "smtp", "sms", "argon2"} {
			if rest, ok := strings.CutPrefix(key, group+"_"); ok {
				key = group + "." + rest
			}
		}
		preset := ""
		if len(o.Default) > 0 {
			preset = "`" + o.Default[0] + "`"
		}
		row := fmt.Sprintf("| `--%s` | `%s` | `%s` | %s | %s |", name, config.Variable(o), key, preset, o.Description)
		if !rows[row] {
			t.Errorf("README.md lacks\n%s", row)
		}
	}
	if len(rows) != len(l.options) {
		t.Errorf("README.md has %d settings, there are %d", len(rows), len(l.options))
	}
}
