package main

import (
	"database/sql"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // for the operator who edits the database
)

var update = flag.Bool("update", false, "write the transcripts anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"countersign": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

func TestTranscripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("COUNTERSIGN_DATA", "data")
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"sqlite":  editDatabase,
			"listen":  listen,
			"gateway": listenWithGateway,
			"answer":  awaitAnswer,
			"keep":    keepMatch,
		},
	})
}

// editDatabase is the custom command `sqlite FILE STATEMENT`.
func editDatabase(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer func() { _ = db.Close() }()
	result, err := db.Exec(args[1])
	ts.Check(err)
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		ts.Fatalf("%s changed nothing (%v)", args[1], err)
	}
}

// listen is `listen VARIABLE`: it takes a port of this machine until the script
// ends; `! listen VARIABLE` lets it go at once.
func listen(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Setenv(args[0], port)
	if neg {
		ts.Check(l.Close())
		return
	}
	ts.Defer(func() { _ = l.Close() })
}

// listenWithGateway is `gateway VARIABLE`: a port of this machine at which
// whatever is posted is taken, until the script ends.
func listenWithGateway(ts *testscript.TestScript, _ bool, args []string) {
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ts.Defer(web.Close)
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	ts.Check(err)
	ts.Setenv(args[0], port)
}

// awaitAnswer is `answer URL`: it waits until the URL answers with 200.
func awaitAnswer(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: time.Second}
	for range 300 {
		if r, err := client.Get(args[0]); err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("%s does not answer", args[0])
}

// keepMatch is `keep VARIABLE BEFORE AFTER`: what the last output has between
// the two becomes the variable.
func keepMatch(ts *testscript.TestScript, _ bool, args []string) {
	_, rest, ok := strings.Cut(ts.ReadFile("stdout"), args[1])
	value, _, ok2 := strings.Cut(rest, args[2])
	if !ok || !ok2 {
		ts.Fatalf("the output has nothing between %q and %q", args[1], args[2])
	}
	ts.Setenv(args[0], value)
}
