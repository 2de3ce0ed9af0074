# Countersign. `make` alone prints this help.
LISTEN ?= localhost:8080
DATA ?= ./data

.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: bin/countersign ## Build and run on this machine, in development mode
	./bin/countersign serve --dev --listen $(LISTEN) --data $(DATA)

.PHONY: build
build: bin/countersign ## Build the one static binary

.PHONY: bin/countersign
bin/countersign:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/countersign ./cmd/countersign
