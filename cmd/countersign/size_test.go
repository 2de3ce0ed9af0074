package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program is linked as `make build` does it. One method that is found by a
// name which the linker does not know, and it keeps them all
// (docs/decisions/0039).
func TestTheProgramHasNoMoreThanItCalls(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "countersign")
	out, err := exec.Command("make", "-C", "../..", "build", "BINARY="+binary, "LDFLAGS=-dumpdep").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, out)
	}
	if !strings.Contains(string(out), "main.main -> ") {
		t.Fatalf("the linker does not say what needs what:\n%.2000s", out)
	}
	for line := range strings.Lines(string(out)) {
		if from, to, ok := strings.Cut(strings.TrimSpace(line), " -> "); ok && strings.HasSuffix(to, "<ReflectMethod>") {
			t.Errorf("%s finds methods by their names, for %s", to, from)
		}
	}
	const most = 30_000_000 // bytes
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > most {
		t.Errorf("the program has %d bytes, more than %d", info.Size(), most)
	}
	t.Logf("%.1f MB", float64(info.Size())/1e6)
}
