package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// The table of settings in the README has a row for each, with its names, its
// default and its sentence.
func TestReadmeHasEverySetting(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	parser, err := kong.New(&cli{}, kong.Name("countersign"), kong.DefaultEnvars("COUNTERSIGN"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, "| `--") {
			rows[strings.TrimSpace(line)] = true
		}
	}
	n := 0
	for _, flag := range parser.Model.Flags {
		if flag.Name == "help" || flag.Name == "config" {
			continue
		}
		n++
		key := strings.ReplaceAll(flag.Name, "-", "_")
		for _, group := range []string{"quota", "passkey", "smtp", "sms", "argon2"} {
			if rest, ok := strings.CutPrefix(key, group+"_"); ok {
				key = group + "." + rest
			}
		}
		preset := ""
		if flag.HasDefault {
			preset = "`" + flag.Default + "`"
		}
		row := fmt.Sprintf("| `--%s` | `%s` | `%s` | %s | %s |", flag.Name, flag.Envs[0], key, preset, flag.Help)
		if !rows[row] {
			t.Errorf("README.md lacks\n%s", row)
		}
	}
	if len(rows) != n {
		t.Errorf("README.md has %d settings, there are %d", len(rows), n)
	}
}
