# Run `make help` for the list.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
GOLANGCI ?= go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 30s
BENCH ?= .
BENCHCOUNT ?= 6

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The build needs a C compiler and libpcap's header. Where they are missing and
# apt-get is there, they are installed.
.PHONY: deps
deps:
	@if echo '#include <pcap/pcap.h>' | $$(go env CC) -E - >/dev/null 2>&1; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "a C compiler or the headers of libpcap are missing; install gcc and libpcap-devel (or libpcap-dev)" >&2; exit 1; fi; \
	sudo=; if [ "$$(id -u)" != 0 ]; then sudo=sudo; fi; \
	echo "installing gcc and libpcap-dev"; \
	$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq gcc libc6-dev libpcap-dev >/dev/null

.PHONY: build
build: deps ## build bin/exspan
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/exspan ./cmd/exspan

.PHONY: demo
demo: build ## analyse a recorded capture of real servers
	bin/exspan analyze --site testdata/rpc.site.yaml testdata/rpc.pcapng

.PHONY: test
test: deps ## run all tests; EXSPAN_CORPUS names a folder of further captures
	go test ./...

.PHONY: check
check: deps ## formatting, vet, and the import rules
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "not gofmt'ed:" $$files >&2; exit 1; fi
	go vet ./...
	$(GOLANGCI) run

.PHONY: golden
golden: deps ## rewrite what the scenarios expect; look at the difference
	go test ./cmd/exspan -run '^TestScenarios$$' -update

.PHONY: fuzz
fuzz: deps ## run every fuzz target for FUZZTIME
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			go test $$pkg -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME); \
		done; \
	done

.PHONY: bench
bench: deps ## run the benchmarks, for benchstat
	go test ./... -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCHCOUNT)

.PHONY: bench-peers
bench-peers: build ## time exspan against tcpdump, softflowd, ndpiReader and tshark
	testdata/bench/peers.sh bin/exspan
