package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// What the start mapped is given back, and the program goes on.
func TestTheServerSettles(t *testing.T) {
	before := mapped(t)
	settle()
	after := mapped(t)
	t.Logf("%d KiB of the program before, %d after", before, after)
	if after > before*3/4 {
		t.Errorf("%d KiB of the program are resident, %d before", after, before)
	}
}

// mapped is how much of files is resident, in KiB.
func mapped(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
