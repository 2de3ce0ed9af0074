package audit_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/audit"
)

func TestEveryEventIsInOneGroup(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("audit.go")
	if err != nil {
		t.Fatal(err)
	}
	groups := map[audit.Name]int{}
	for _, g := range audit.Groups {
		for _, name := range g.Names {
			groups[name]++
		}
	}
	all := regexp.MustCompile(`(?m)^\t[A-Z]\w+\s+Name = "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	for _, m := range all {
		if n := groups[audit.Name(m[1])]; n != 1 {
			t.Errorf("%s is in %d groups", m[1], n)
		}
	}
	if len(all) != len(groups) || len(all) < 60 {
		t.Errorf("%d events in the source, %d in groups", len(all), len(groups))
	}
}

// hostile is text that a spreadsheet, a terminal or a log would obey.
var hostile = []string{"=cmd|' /C calc'!A0", "+1", "-1", "@sum", "\tx", "a\r\n\"0\",\"1\"", "\x1b[31mred", "\u009b2J", "\u202egnp.exe", "a\u2066b", "\u200b", "\U000e0041", "„“; =1", `"},{"`, "ＷＩＤＥ＝１", "＝1", "plain"}

func entry(t *testing.T, text string) audit.Entry {
	t.Helper()
	e := audit.Event{Account: "1", Seq: 7, At: time.Date(2026, 3, 2, 9, 30, 5, 123456000, time.UTC), Name: audit.MFABind, Identity: "i", Target: text, Refused: text,
		Actor: audit.Actor{Kind: "user", ID: "i", Name: text, Address: "203.0.113.7", UserAgent: text, Request: text}, Details: map[string]string{"name": text, "user": text}, KeyID: 3}
	content, err := e.Content()
	if err != nil {
		t.Fatal(err)
	}
	return audit.ReadEntry("1", audit.Stored{Seq: 7, Lookup: e.Lookup(), Content: content, Hash: []byte{0xab, 0xcd}})
}

func TestWhatIsTakenOutIsTextAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, text := range hostile {
		e := entry(t, text)
		for _, format := range []audit.Format{audit.CSV, audit.JSONL} {
			var b bytes.Buffer
			w, err := audit.NewWriter(&b, format)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Add(e); err != nil {
				t.Fatal(err)
			}
			if err := w.Head("1", 7, []byte{1}); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			for _, r := range []string{"\x1b", "\u009b", "\u202e", "\u2066", "\u200b", "\U000e0041", "\t"} {
				if strings.Contains(b.String(), r) {
					t.Errorf("%q as %s: %q is still in %q", text, format, r, b.String())
				}
			}
			if format == audit.JSONL {
				var got audit.Event
				line, head, _ := strings.Cut(b.String(), "\n")
				if err := json.Unmarshal([]byte(line), &got); err != nil || got.Actor != e.Actor || got.Target != text || got.Details["name"] != text || !got.At.Equal(e.At) {
					t.Errorf("%q: %+v, %v", text, got, err)
				}
				if head != `{"account":"1","head":"1:7:01"}`+"\n" {
					t.Errorf("the head is %q", head)
				}
				continue
			}
			rows, err := csv.NewReader(&b).ReadAll()
			if err != nil || len(rows) != 3 {
				t.Fatalf("%q: %d rows, %v", text, len(rows), err)
			}
			for _, cell := range rows[1] {
				if cell != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(cell)[0]) {
					t.Errorf("%q: a cell begins like a formula: %q", text, cell)
				}
			}
			if got := rows[2][len(rows[2])-1]; got != "1:7:01" {
				t.Errorf("the head is %q", got)
			}
		}
	}
}

func TestWhatWasChangedIsTakenOutAllTheSame(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "nonsense", "[]", "7", "\xff", `{"seq":"x"}`, "{}", `{"account":"1","seq":7,"name":"MFABind","identity":"j"}`} {
		e := audit.ReadEntry("1", audit.Stored{Seq: 7, Lookup: audit.Lookup{Name: audit.MFABind, Identity: "i"}, Content: []byte(content), Hash: []byte{0xab}})
		var b bytes.Buffer
		w, _ := audit.NewWriter(&b, audit.JSONL)
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
		_ = w.Flush()
		var got struct {
			Seq        int64
			Name, Hash string
			Changed    string
		}
		if err := json.Unmarshal(b.Bytes(), &got); err != nil || got.Changed != strings.ToValidUTF8(content, "\ufffd") || got.Seq != 7 || got.Name != string(audit.MFABind) || got.Hash != "ab" {
			t.Errorf("%q: %s, %v", content, b.Bytes(), err)
		}
	}
}
