package main

import (
	"os"
	"runtime/debug"
	"time"
)

// settling is how long the server works at its start: until then it has
// answered first, and done its housekeeping.
const settling = 2 * time.Second

// hurried lets the start run without the collector, mostly.
func hurried() { collect(400) }

// frugal has the collector run when half as much garbage as there is memory in
// use has come together, unless the operator says otherwise: password hashes
// have their own memory, and what is left is little.
func frugal() { collect(50) }

func collect(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// settle gives back what only the start took: garbage, and the pages of the
// program that are not used again. Those that are come back from the cache of
// the system.
func settle() {
	frugal()
	debug.FreeOSMemory()
	forgetProgram()
}
