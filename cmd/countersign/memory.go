package main

import (
	"os"
	"runtime/debug"
	"time"
)

// settling is how long the server works at its start: until then it has
// answered first, and done its housekeeping.
const settling = 2 * time.Second

// frugal has the collector run when half as much garbage as there is memory in
// use has come together, unless the operator says otherwise: password hashes
// have their own memory, and what is left is little.
func frugal() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// settle gives back what only the start took: garbage, and the pages of the
// program that are not used again. Those that are come back from the cache of
// the system.
func settle() {
	debug.FreeOSMemory()
	forgetProgram()
}
