# Countersign. `make` alone prints this help.
LISTEN ?= localhost:8080
DATA ?= ./data
BINARY ?= bin/countersign
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo development)

# What the program does without: pgx's list of Go types for PostgreSQL's.
export GOFLAGS += -tags=nopgxregisterdefaulttypes

.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Build and run on this machine, in development mode (LISTEN=localhost:8080 DATA=./data)
	./bin/countersign serve --dev --listen $(LISTEN) --data $(DATA)

.PHONY: build
build: ## Build the one static binary, bin/countersign
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -funcalign=16 -X main.version=$(VERSION) $(LDFLAGS)" -o $(BINARY) ./cmd/countersign

.PHONY: deb
deb: build ## Build a Debian package of it, in bin/
	scripts/deb

.PHONY: test
test: ## Test everything, all but the browser's tours with the race detector; installs what it needs on Debian
	scripts/install-test-tools
	@unformatted=$$(gofmt -l cmd internal); [ -z "$$unformatted" ] || { echo "not formatted (make fmt): $$unformatted" >&2; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	COUNTERSIGN_TEST_COMPLETE=1 scripts/with-postgres go test -race -shuffle=on -timeout 30m $$(go list ./... | grep -v /internal/browsertest)
	COUNTERSIGN_TEST_COMPLETE=1 scripts/with-postgres go test -shuffle=on -timeout 30m ./internal/browsertest

.PHONY: test-faults
test-faults: ## Test at length what goes wrong: nodes and databases that are stopped, killed, cut off
	scripts/install-test-tools
	COUNTERSIGN_TEST_FAULTS=1 COUNTERSIGN_TEST_COMPLETE=1 scripts/with-postgres go test -count=1 -timeout 60m $$(grep -rl COUNTERSIGN_TEST_FAULTS --include='*_test.go' internal cmd | xargs -n 1 dirname | sort -u | sed 's,^,./,')

.PHONY: quick
quick: ## Test what needs nothing but Go: SQLite, no browser
	go test ./...

.PHONY: vuln
vuln: ## Look for known vulnerabilities: by hand, since it asks a database on the network
	go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

.PHONY: bench
bench: ## Measure
	go test -run='^$$' -bench=. -benchmem ./...
	@if [ -x scripts/bench ]; then scripts/bench; fi

.PHONY: fuzz
fuzz: ## Fuzz every target for 20 seconds
	@grep -rnoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' internal cmd | while IFS=: read -r file _ name; do \
		echo "$$(dirname $$file) $${name#func }"; \
		go test -run='^$$' -fuzz="^$${name#func }$$" -fuzztime=20s -fuzzminimizetime=1s ./$$(dirname $$file) </dev/null || exit 1; \
	done

.PHONY: golden
golden: ## Write generated pages and transcripts anew; review the difference like code
	go test ./internal/archtest ./cmd/countersign -update

.PHONY: tables
tables: ## Take numbering plans, words and names of countries from their libraries anew; review the difference like code
	go test ./internal/domain/dialplan ./internal/domain/guess ./internal/locale -run 'Table|Words|Countries' -update

.PHONY: fmt
fmt: ## Format the code
	gofmt -w cmd internal
