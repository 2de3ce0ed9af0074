package page

import (
	"bytes"
	"encoding/json"
	"html"
	"regexp"
	"strings"
	"testing"

	template "github.com/DataDog/datadog-agent/pkg/template/html"

	"countersign/internal/locale"
)

func passkeyPart(t *testing.T, kv ...any) string {
	t.Helper()
	tmpl := template.Must(template.New("").Funcs(functions).ParseFS(layoutFS, "templates/parts.html"))
	b := Base{L: locale.Match("en"), CSRF: "masked", Asset: AssetPath}
	var w bytes.Buffer
	if err := tmpl.ExecuteTemplate(&w, "passkey", pairs(append(kv, "b", b)...)); err != nil {
		t.Fatal(err)
	}
	return w.String()
}

var optionsIn = regexp.MustCompile(`data-options="([^"]*)"`)

// Options arrive in the script as they left the server, whoever chose the
// names in them.
func TestPasskeyOptions(t *testing.T) {
	want, err := json.Marshal(map[string]any{"user": map[string]any{"name": `a"b'c</form><script>alert(1)</script>&amp;`, "displayName": "名前 &quot;"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, options := range []any{json.RawMessage(want), string(want)} {
		part := passkeyPart(t, "kind", "create", "options", options, "action", "/security/passkeys/new", "button", "Create", "busy", "Saving…", "ceremony", "c1")
		m := optionsIn.FindStringSubmatch(part)
		if m == nil || html.UnescapeString(m[1]) != string(want) || strings.Contains(part, "<script") {
			t.Errorf("%T: %s", options, part)
		}
	}
}

func TestPasskeyForm(t *testing.T) {
	full := passkeyPart(t, "kind", "get", "options", "", "fetch", "/signin/passkey/options", "conditional", true, "action", "/signin/passkey", "method", "passkey", "button", "Go", "busy", "Wait", "fields", map[string]string{"return_to": "/x"})
	for _, s := range []string{
		`<form method="post" action="/signin/passkey" data-passkey="get" data-fetch="/signin/passkey/options" data-conditional data-cancelled="`,
		`name="csrf" value="masked"`, `name="c" value=""`, `name="method" value="passkey"`, `name="return_to" value="/x"`, `name="credential">`,
		`<button type="button" class="button" data-passkey-go data-busy="Wait" hidden>Go</button>`,
	} {
		if !strings.Contains(full, s) {
			t.Errorf("no %s in\n%s", s, full)
		}
	}
	if strings.Contains(full, "data-options") || strings.Contains(full, "data-exists") {
		t.Error(full)
	}
	least := passkeyPart(t, "kind", "create", "options", json.RawMessage(`{}`), "action", "/a", "button", "Go")
	for _, s := range []string{"data-fetch", "data-conditional", `name="c"`, `name="method"`, "data-busy", "no value", "nil"} {
		if strings.Contains(least, s) {
			t.Errorf("%s in\n%s", s, least)
		}
	}
	if !strings.Contains(least, `data-exists="`) || strings.Contains(least, "passkey.js.") {
		t.Error(least)
	}
}
