package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/store/storetest"
	"countersign/internal/store/transfer"
)

// command runs the program as a shell does, with a data directory of its own.
func command(t *testing.T, data, stdin string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(append([]string{"--data", data}, args...), strings.NewReader(stdin), &o, &e)
	return code, o.String(), e.String()
}

func TestMovingFromTheCommandLine(t *testing.T) {
	t.Parallel()
	data, to := t.TempDir(), storetest.PostgresURL(t)
	if code, _, errOut := command(t, data, "plum otter vines sky\n", "account", "create", "--email", "owner@example.com", "--password-stdin", "--verified"); code != 0 {
		t.Fatal(errOut)
	}
	file := filepath.Join(data, "url")
	if err := os.WriteFile(file, []byte(to+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := command(t, data, "", "database", "move", "--to-file", file)
	if code != 0 || !strings.HasPrefix(out, "Moved: ") || !strings.Contains(out, ", the same on both sides; 1 audit chain holds.\n") {
		t.Fatalf("%d\n%s\n%s", code, out, errOut)
	}
	if !strings.Contains(errOut, "identity: 1 row\n") || strings.Contains(out+errOut, "\x1b") || strings.Contains(out+errOut, to) {
		t.Errorf("told: %s", errOut)
	}
	if code, out, errOut = command(t, data, "", "--database", to, "account", "list"); code != 0 || !strings.Contains(out, "owner@example.com") {
		t.Errorf("%d\n%s\n%s", code, out, errOut)
	}
	if code, _, errOut = command(t, data, "", "database", "move", "--to-file", file); code == 0 || !strings.Contains(errOut, "the target is not empty: it holds ") {
		t.Errorf("again: %d\n%s", code, errOut)
	}
}

func TestTheBarStaysOnItsLine(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	line := &bar{to: &b}
	for rows := range int64(11) {
		line.draw(transfer.Report{Phase: transfer.Copying, Table: "session", Rows: rows, Of: 10, Total: rows, OfAll: 10, Ended: rows == 10})
	}
	text := b.String()
	if strings.Contains(text, "\n") || !strings.Contains(text, "copy [###...........................]  10%  session") || !strings.HasSuffix(text, "\r\x1b[2K") {
		t.Errorf("%q", text)
	}
}
