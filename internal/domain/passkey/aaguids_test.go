package passkey

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMakers(t *testing.T) {
	icons := map[string]bool{}
	for s, m := range makers {
		a, err := ParseAAGUID(s)
		if err != nil || a.String() != s || a.IsZero() {
			t.Errorf("%s: not an AAGUID as it is looked up by: %v", s, err)
		}
		// The name is proposed for the passkey, and a number may have to follow.
		if a.Maker() != m.name || m.name == "" || strings.TrimSpace(m.name) != m.name || utf8.RuneCountInString(m.name) > NameMax-5 {
			t.Errorf("%s: maker %q", s, a.Maker())
		}
		icons[a.Icon()] = true
	}
	if len(icons) != 3 {
		t.Errorf("icons %v", icons)
	}
	for name := range icons {
		svg, err := os.ReadFile(filepath.Join("../../front/web/page/assets", name))
		if err != nil {
			t.Error(err)
		} else if strings.Contains(string(svg), "currentColor") {
			t.Errorf("%s: has no text to take its colour from as <img>", name)
		}
	}
}

func TestUnknownMaker(t *testing.T) {
	for _, a := range []AAGUID{{}, {1}} {
		if a.Maker() != "" || a.Icon() != "passkey-device.svg" {
			t.Errorf("%s: %q, %q", a, a.Maker(), a.Icon())
		}
	}
}
