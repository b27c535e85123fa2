# Every target installs what it lacks on a Debian-like machine that has Go and apt.

GO           ?= go
BIN          := bin/hookline
TOOLS        := $(CURDIR)/.tools
VERSION      ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The version is stamped by hand: VCS stamping by the go command fails in checkouts that belong to another user.
LDFLAGS      := -s -w -X main.version=$(VERSION)
TEST_TIMEOUT ?= 30m
# Per fuzz target, and for all of them together (seconds).
FUZZTIME     ?= 10
FUZZTOTAL    ?= 600
SEEDS        ?= 10000
SEED         ?= 1
KILLS        ?= 100
# Of the soak test and of the kit's loop.
DURATION     ?= 10m
# Arguments for run, demo and bench: make run ARGS="-c config.ini"
ARGS         ?=

.DEFAULT_GOAL := help
.PHONY: help build run demo test matrix simulate kill-loop kit-loop soak bench lint fmt fuzz fuzz-corpus tools test-deps clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/hookline
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/hookline

run: build ## build and serve (RTMP 1935, HTTP 8080, state below ./data)
	$(BIN) serve $(ARGS)

demo: build ## the product in a minute: faults, a crash, and nothing lost or out of order
	$(BIN) demo $(ARGS)

test: test-deps ## vet, all tests but the matrix with the race detector in random order, import rules
	$(GO) vet ./...
	$(GO) test -race -shuffle=on -tags realclient -skip '^TestMatrix$$' -timeout $(TEST_TIMEOUT) ./...

matrix: test-deps ## every way in to every way out, with real clients; ends with 'N passed, N failed'
	@GO='$(GO)' scripts/matrix

simulate: ## SEEDS runs of the event plane in virtual time, from seed SEED on
	$(GO) test -count=1 -timeout 60m -v -run TestSimulation ./internal/simulation -seeds $(SEEDS) -seed $(SEED)

kill-loop: test-deps ## the real binary killed KILLS times under load
	HOOKLINE_E2E_KILLS=$(KILLS) $(GO) test -count=1 -timeout 60m -v -run Kill ./internal/e2e

kit-loop: test-deps ## server and receiver killed for DURATION: the receiver's tables in PostgreSQL equal the log
	HOOKLINE_E2E_KIT=$(DURATION) $(GO) test -count=1 -timeout 3h -v -run 'TestKitLoop$$' ./internal/e2e

soak: test-deps ## the real binary for DURATION under publishers and viewers that come and go: nothing grows, nobody starves
	HOOKLINE_E2E_SOAK=$(DURATION) $(GO) test -count=1 -timeout 3h -v -run 'TestSoak$$' ./internal/e2e

bench: build ## measure, and write build/bench.json
	@mkdir -p build
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -o bin/hookline-queueserver ./internal/bench/queueserver
	$(BIN) bench --out build/bench.json $(ARGS)

lint: tools ## formatting and golangci-lint
	@scripts/check-format
	$(TOOLS)/golangci-lint run ./...

fmt: tools ## format the code
	$(TOOLS)/gofumpt -w $$(git ls-files '*.go')

fuzz: ## run every fuzz target for FUZZTIME seconds, all of them within FUZZTOTAL
	@GO='$(GO)' scripts/fuzz '$(FUZZTIME)' '$(FUZZTOTAL)'

fuzz-corpus: ## keep in testdata what fuzzing has found since; make fuzz of 10 s and more begins with that
	@GO='$(GO)' scripts/fuzz-corpus save

tools: ## install the pinned linters into .tools
	@GO='$(GO)' scripts/install-tools

test-deps: ## install what the tests need: ffmpeg, browsers and players, queues, and a C compiler for the race detector
	@scripts/install-test-deps

clean: ## remove what was built
	rm -rf bin build
