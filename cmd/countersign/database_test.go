package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestReopeningFromTheCommandLine(t *testing.T) {
	t.Parallel()
	data, to := t.TempDir(), storetest.PostgresURL(t)
	if code, _, errOut := command(t, data, "plum otter vines sky\n", "account", "create", "--email", "owner@example.com", "--password-stdin", "--verified"); code != 0 {
		t.Fatal(errOut)
	}
	refused := func(want string, args ...string) {
		t.Helper()
		if code, out, errOut := command(t, data, "", args...); code == 0 || out != "" || !strings.HasPrefix(errOut, "countersign: ") || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, want) {
			t.Errorf("%v: %d %q %q, want %q", args, code, out, errOut, want)
		}
	}
	refused("the database was not moved: it is open", "database", "reopen")
	if code, out, errOut := command(t, data, "", "database", "move", "--to", to); code != 0 || !strings.Contains(out, "nothing starts on it again unless `countersign database reopen` says so") {
		t.Fatal(out, errOut)
	}
	_, name, _ := strings.Cut(strings.TrimPrefix(to, "postgres://"), "@")
	name = "127.0.0.1/" + name[strings.Index(name, "/")+1:strings.Index(name, "?")]
	refused("the database was moved to "+name+" at 20", "serve")
	refused("(`countersign database reopen` goes on with this one instead)", "account", "list")
	refused("the database was moved to "+name+" at 20", "backup", filepath.Join(data, "backup"), "--key-file", filepath.Join(data, "key"), "--new-key")
	if code, out, _ := command(t, data, "", "doctor"); code == 0 || !strings.Contains(out, "FAIL  database  it was moved to "+name+" at 20") {
		t.Error(out)
	}
	refused("stop every server there, then say --abandon", "database", "reopen")
	refused("the database was moved to "+name, "account", "list")
	if code, out, errOut := command(t, data, "", "database", "reopen", "--abandon"); code != 0 || !strings.HasPrefix(out, "Reopened: the database is as it was at 20") || !strings.Contains(out, "What was done since in the one at "+name+" is not in it") {
		t.Fatal(code, out, errOut)
	}
	if code, out, errOut := command(t, data, "", "account", "list"); code != 0 || !strings.Contains(out, "owner@example.com") {
		t.Errorf("%d\n%s\n%s", code, out, errOut)
	}
}

func TestLinesAreFewWhereNobodyWatches(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for _, tables := range []bool{false, true} {
		var b bytes.Buffer
		tell := progress(&b, func() time.Time { return now }, tables)
		for second := range 31 {
			tell(transfer.Report{Phase: transfer.Writing, Table: "session", Rows: int64(second) * 100})
			now = now.Add(time.Second)
		}
		tell(transfer.Report{Phase: transfer.Copying, Table: "phone", Rows: 1, Ended: true, Total: 3, OfAll: 4})
		now = now.Add(8 * time.Second)
		tell(transfer.Report{Phase: transfer.Copying, Table: "session", Rows: 1, Total: 3, OfAll: 4})
		now = now.Add(2 * time.Second)
		tell(transfer.Report{Phase: transfer.Copying, Table: "session", Rows: 2, Total: 3, OfAll: 4})
		want := "write session: 1000 rows\nwrite session: 2000 rows\nwrite session: 3000 rows\n"
		if tables { // of each a line, however soon
			want += "phone: 1 row\n"
		}
		if want += "copy session: 2 rows, 75% of all\n"; b.String() != want {
			t.Errorf("%v: told\n%swant\n%s", tables, b.String(), want)
		}
	}
}

func TestTheBarStaysOnItsLine(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	line := &bar{to: &b}
	for rows := range int64(11) {
		line.draw(transfer.Report{Phase: transfer.Copying, Table: "session", Rows: rows, Of: 10, Total: rows, OfAll: 10, Ended: rows == 10})
	}
	line.draw(transfer.Report{Phase: transfer.Comparing, Table: "session", Rows: 11, Total: 11, OfAll: 10, Ended: true}) // somebody else writes there
	text := b.String()
	if strings.Contains(text, "\n") || !strings.Contains(text, "copy [###...........................]  10%  session") || !strings.HasSuffix(text, "\r\x1b[2K") {
		t.Errorf("%q", text)
	}
}
