// Command bare is a server that does nothing: what starting and idling cost
// without us.
package main

import (
	"log"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ready")) })
	log.Fatal(http.ListenAndServe(os.Args[1], nil)) //nolint:gosec // for a moment, on this machine
}
