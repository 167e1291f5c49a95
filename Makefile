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
build: deps ## build bin/exspan and bin/exspan-hub
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/exspan ./cmd/exspan
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/exspan-hub ./cmd/exspan-hub

.PHONY: demo
demo: build ## analyse a recorded capture of real servers
	bin/exspan analyze --site testdata/rpc.site.yaml testdata/rpc.pcapng

.PHONY: test
test: deps ## run all tests; EXSPAN_CORPUS names a folder of further captures
	EXSPAN_AGREEMENT=$(CURDIR)/bin/agreement go test -timeout 30m ./...
	@cat bin/agreement/*.txt
	@$(MAKE) --no-print-directory sql

# DuckDB is C++: its library wants that of a C++ compiler.
.PHONY: deps-cxx
deps-cxx: deps
	@if [ -f "$$($$(go env CC) -print-file-name=libstdc++.so)" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "the C++ library is missing, which the tests with DuckDB need; install gcc-c++ (or g++)" >&2; exit 1; fi; \
	sudo=; if [ "$$(id -u)" != 0 ]; then sudo=sudo; fi; \
	echo "installing g++"; \
	$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq g++ >/dev/null

.PHONY: sql
sql: deps-cxx ## run the SQL of exporter/parquet/README.md in DuckDB, a module of its own with 32 MB of library
	go -C exporter/parquet/duckdb test ./... -count=1

.PHONY: lists
lists: deps ## take off the lists of what does not hold yet what holds now
	EXSPAN_TRANSFORM=1 go test ./cmd/exspan -count=1 -timeout 30m -lists shrink \
		-run '^(TestSituations|TestFaults|TestOpaqueIsNamed|TestLabels|TestWithoutSite|TestNoFalseExchange|TestDocumentedPaths|TestTransformations|TestLoss)$$'

.PHONY: transform
transform: deps ## change every recording as bad mirrors and clocks do; no verdict may get worse
	EXSPAN_TRANSFORM=1 go test ./cmd/exspan -count=1 -v -timeout 30m -run '^TestTransformations$$'

.PHONY: loss
loss: deps ## cut one segment out of every TCP flow, and compare what is still read with tshark
	EXSPAN_LOSS=1 go test ./cmd/exspan -count=1 -v -timeout 60m -run '^TestLoss$$'

.PHONY: mixin
mixin: deps ## test alerts and dashboard with the promtool of Prometheus 3, which takes minutes to build
	go -C exporter/prometheus/mixin/tools build -o $(CURDIR)/bin/prometheus3/promtool github.com/prometheus/prometheus/cmd/promtool
	PATH=$(CURDIR)/bin/prometheus3:$$PATH go test ./exporter/prometheus/mixin -count=1

.PHONY: readers
readers: deps ## open diagrams with mxGraph and Mermaid in Chromium; needs npm and chromium
	npm install --silent --no-audit --no-fund --prefix bin/readers mxgraph mermaid
	EXSPAN_NODE_MODULES=$(CURDIR)/bin/readers go test ./cmd/exspan -count=1 -v -run '^TestDiagramReaders$$'

.PHONY: pictures
pictures: build ## draw the pictures of the README from a bundled recording; needs chromium
	bin/exspan diagram --site testdata/mail.site.yaml -o testdata/pictures/diagram.svg testdata/mail.pcapng
	page=$$(mktemp --suffix .html) && bin/exspan report --site testdata/mail.site.yaml -o $$page testdata/mail.pcapng && \
		chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,900 --screenshot=testdata/pictures/report.png $$page 2>/dev/null; \
		rm -f $$page

.PHONY: soak
soak: deps ## replay every capture live, and find the rate without loss; as root, takes minutes
	EXSPAN_SOAK=1 go test ./cmd/exspan -count=1 -v -timeout 30m -run '^(TestLiveEqualsFiles|TestRate)$$'

.PHONY: floods
floods: deps ## send floods of full size while a conversation goes on; peaks of memory and times are printed
	EXSPAN_FLOODS=1 go test ./cmd/exspan -count=1 -v -timeout 3h -run '^TestFloods$$'

.PHONY: share
share: deps ## sensors that share: a partition of 60 s, loss, a flood, and 20 sensors with 100,000 endpoints; as root, takes minutes
	EXSPAN_SHARE=1 EXSPAN_PARTITION=60s go test ./cmd/exspan ./cmd/exspan-hub -count=1 -v -timeout 30m -run '^(TestShare.*|TestObserveHub.*|TestForeignPrefix|TestOutsideServer)$$'

ENDURANCE ?= 1h

.PHONY: endurance
endurance: deps ## monitor 5,000 packets/s for the time ENDURANCE; memory, heap and goroutines must not grow; as root
	EXSPAN_ENDURANCE=$(ENDURANCE) go test ./cmd/exspan -count=1 -v -timeout 25h -run '^TestEndurance$$'

.PHONY: check
check: deps ## formatting, vet, and the import rules
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "not gofmt'ed:" $$files >&2; exit 1; fi
	go vet ./...
	GOOS=windows go build ./...
	GOOS=windows go vet ./...
	$(GOLANGCI) run

.PHONY: generate
generate: ## compile the packs of rules into rules/builtin.go
	go generate ./rules

.PHONY: golden
golden: deps ## rewrite what the scenarios expect; look at the difference
	go test ./cmd/exspan -run '^TestScenarios$$' -update

.PHONY: fuzz
fuzz: deps ## run every fuzz target for FUZZTIME
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			go test $$pkg -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x; \
		done; \
	done

.PHONY: bench
bench: deps ## run the benchmarks, for benchstat
	go test ./... -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCHCOUNT)

.PHONY: bench-peers
bench-peers: build ## time exspan against tcpdump, softflowd, ndpiReader and tshark; EXSPAN_CORPUS as for test
	testdata/bench/peers.sh bin/exspan

.PHONY: slopes
slopes: deps ## print what ten times the packets, flows, endpoints, hosts and more rules cost
	EXSPAN_SLOPES=1 go test ./classify -count=1 -v -timeout 30m -run '^TestSlopes$$'

.PHONY: same
same: build ## compare the output with that of the commit BASE, on every recording and capture
	@test -n "$(BASE)" || { echo "BASE names the commit to compare with: make same BASE=main~1" >&2; exit 2; }
	rm -rf dist/base && git worktree prune && git worktree add --quiet --detach dist/base $(BASE)
	cd dist/base && go build -trimpath -ldflags "-X main.version=$(VERSION)" -o ../exspan-base ./cmd/exspan
	git worktree remove --force dist/base
	testdata/bench/same.sh dist/exspan-base bin/exspan

NFPM ?= go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4
# 1.2.3 of the tag v1.2.3, 1.2.3+4.gabcdef0 four commits later, 0.0.0+abcdef0 without a tag.
PACKAGE_VERSION ?= $(shell echo '$(VERSION)' | sed -E 's/^v([0-9])/\1/; s/^([^.]*)$$/0.0.0+\1/; s/-([0-9]+)-g/+\1.g/; s/-dirty$$/.dirty/')

.PHONY: man
man: build ## write the manual pages to bin/man
	bin/exspan man bin/man
	bin/exspan-hub man bin/man

# The deb and the rpm of the program $(1), from the folder $(2), which has it.
define package
	$(2)/$(1) man $(2)/man
	gzip -9n $(2)/man/*.1
	for shell in bash fish; do $(2)/$(1) completion $$shell >$(2)/$(1).$$shell; done
	$(2)/$(1) completion zsh >$(2)/_$(1)
	printf '$(1) (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' '$(PACKAGE_VERSION)' \
		"$$(sed -n 's/^maintainer: //p' cmd/$(1)/package/nfpm.yaml)" "$$(date -R -u -d "@$$SOURCE_DATE_EPOCH")" | gzip -9n >$(2)/changelog.gz
	sed '/^license:/d' cmd/$(1)/package/nfpm.yaml >$(2)/nfpm-deb.yaml # a deb has its license in the file copyright alone
	export PACKAGE_ARCH=$$(go env GOARCH); \
	$(NFPM) package -f $(2)/nfpm-deb.yaml -p deb -t dist/; \
	$(NFPM) package -f cmd/$(1)/package/nfpm.yaml -p rpm -t dist/
endef

# One binary for all distributions of glibc 2.34 and later: libpcap, whose
# library has another name on each, is linked in. The linker finds the folder
# that has libpcap.a alone first.
.PHONY: packages
packages: export SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct 2>/dev/null)
packages: export PACKAGE_VERSION := $(PACKAGE_VERSION)
packages: deps ## build deb and rpm of exspan and of exspan-hub, and a zip for Windows, in dist/
	rm -rf dist
	mkdir -p dist/root/lib dist/hub
	ln -s "$$($$(go env CC) -print-file-name=libpcap.a)" dist/root/lib/libpcap.a
	CGO_LDFLAGS="-L$(CURDIR)/dist/root/lib -ldbus-1" go build -trimpath -buildmode=pie -ldflags "-s -w -X main.version=$(VERSION)" -o dist/root/exspan ./cmd/exspan
	$(call package,exspan,dist/root)
	go build -trimpath -buildmode=pie -ldflags "-s -w -X main.version=$(VERSION)" -o dist/hub/exspan-hub ./cmd/exspan-hub
	for script in cmd/exspan/package/*.sh; do sed 's/exspan/exspan-hub/g' $$script >dist/hub/$${script##*/}; done
	$(call package,exspan-hub,dist/hub)
	CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o dist/root/exspan.exe ./cmd/exspan
	go run ./cmd/exspan/package/zip "dist/exspan_$(PACKAGE_VERSION)_windows_amd64.zip" dist/root/exspan.exe README.md LICENSE
	EXSPAN_PACKAGES="$(CURDIR)/dist" go test -count=1 -run '^TestPackages$$' ./cmd/exspan
