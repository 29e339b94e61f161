# Each target is one command that a person could type. `make` alone lists them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
comma   := ,
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: tools ## build bin/tapedeck and bin/tapedeck-lake
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/tapedeck ./cmd/tapedeck-lake

.PHONY: demo
demo: tools ## build bin/tapedeck, then show everything in under a minute, on nothing but this machine
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/tapedeck
	bin/tapedeck demo

# gotestsum prints a line for each package, and the slowest tests at the end.
GOTESTSUM = $(GO) tool gotestsum --format pkgname --hide-summary=skipped --jsonfile $(TESTLOG) --
TESTLOG  := $(shell mktemp -u)
slowest   = $(GO) tool gotestsum tool slowest --num 10 --threshold 3s --jsonfile $(TESTLOG); rm -f $(TESTLOG)

.PHONY: test
test: tools ## the tests, with the race detector; no network except for the Go modules
	@# -p 3: some packages mostly wait. -dwarf=false: without debug information it builds a fifth faster
	@GORACE=atexit_sleep_ms=0 $(GOTESTSUM) -timeout 20m -p 3 -race -short -vet=off -gcflags=all=-dwarf=false -ldflags='-s -w' ./...
	@echo "slowest tests:"; $(slowest)

.PHONY: test-all
test-all: tools ## all tests, also the slow ones, without the race detector
	@$(GOTESTSUM) -timeout 20m ./...
	@echo "slowest tests:"; $(slowest)

.PHONY: golden
golden: tools ## rewrite golden files and generated tables; read the diff afterwards
	$(GO) test ./cmd/tapedeck -count=1 -run 'TestHelp|TestREADME|TestDocs|TestScripts' -update
	$(GO) test ./jobs/report ./jobs/schedule -count=1 -update
	git diff --stat

.PHONY: golden-sql
golden-sql: tools ## rewrite the expected rows of the SQL cases; read the diff afterwards
	$(GO) test ./analytics -count=1 -run '^TestCases$$' -update
	git diff --stat

.PHONY: pictures
pictures: tools ## make the pictures of the README from real output; needs chromium
	scripts/pictures

.PHONY: lint
lint: tools ## gofmt, go vet, staticcheck, govulncheck, go mod tidy
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@GO='$(GO)' scripts/govulncheck
	$(GO) mod tidy -diff

.PHONY: sched-soak
sched-soak: tools ## kill the scheduler at 50 random instants over simulated days
	SCHEDULE_KILLS=50 $(GO) test -count=1 -v -run 'TestKilledAtAnyInstant' ./jobs/schedule

.PHONY: bench
bench: tools ## measure side by side and write the table of BENCHMARKS.md; 13 minutes
	$(GO) run ./cmd/bench

.PHONY: bench-quick
bench-quick: tools ## one run of each benchmark except the long ones; under two minutes
	$(GO) run ./cmd/bench -quick

.PHONY: bench-large
bench-large: tools ## the long benchmarks, five runs each, and write the second table; 33 minutes
	$(GO) run ./cmd/bench -large

.PHONY: bench-year
bench-year: tools ## a year of 1,000 million trades, and write its table; 7 GB, or YEAR_TAPE=DIR to keep the tape
	$(GO) run ./cmd/bench -year -year-tape '$(YEAR_TAPE)'

.PHONY: bench-growth
bench-growth: tools ## how cost grows on tapes of 1 to 1,000 million trades; 15 minutes and 12 GB, or SIZES=1,10,100
	$(GO) run ./cmd/bench -growth $(or $(SIZES),1$(comma)10$(comma)100$(comma)1000)

.PHONY: bench-peers
bench-peers: tools ## measure cryptofeed, ccxt.pro, pandas, polars and DuckDB from Python beside tapedeck; npm, PyPI
	GO='$(GO)' scripts/clients peers

.PHONY: soak
soak: tools ## three minutes of kill -9, faults and a full volume, then compare the tape with the truth; SEED=random
	$(GO) test -count=1 -v -timeout 20m -run '^TestSoak$$' ./jobs/soak -soak 3m -seed $(or $(SEED),1)

.PHONY: oracle
oracle: tools ## 200 random histories of a tape: no command claims more than is true; HISTORIES=1000
	$(GO) test ./cmd/tapedeck -count=1 -v -timeout 60m -run '^TestOracle$$' -oracle $(or $(HISTORIES),200)

.PHONY: fuzz
fuzz: tools ## fuzz every decoder, a minute each; FUZZTIME=1h, FUZZ=REST for some
	GO='$(GO)' scripts/fuzz $(or $(FUZZTIME),60s) $(FUZZ)

.PHONY: attack
attack: tools ## 100 random histories in which people, clocks, disks and content misbehave; 5 minutes; HISTORIES=1000
	$(GO) test ./cmd/tapedeck -count=1 -v -timeout 120m -run '^TestAttack$$' -attack $(or $(HISTORIES),100)

.PHONY: clients-test
clients-test: tools ## ccxt, freqtrade and other clients against the stand-in exchange; 3 minutes, npm, PyPI
	GO='$(GO)' scripts/clients

.PHONY: lake-test
lake-test: tools ## ship and restore against SeaweedFS and versitygw, which it installs; PyPI
	GO='$(GO)' scripts/lake

.PHONY: crash
crash: tools ## fail every disk operation in every way; minutes
	$(GO) test -count=1 -timeout 30m -run '^TestOperationsSurviveDiskFaults$$' ./internal/tape -every

.PHONY: telegram-soak
telegram-soak: tools ## send 500 messages to a stand-in Telegram, killing the sender 20 times
	TAPEDECK_TELEGRAM_SOAK=full $(GO) test -count=1 -v -run '^TestSendingSurvivesKills$$' ./jobs/notify

.PHONY: image-test
image-test: tools ## build the image and the compose stack and run DOCKER.md on a real container engine
	TAPEDECK_IMAGE_TEST=1 $(GO) test -count=1 -v -timeout 60m ./image

.PHONY: sql-mutants
sql-mutants: tools ## mutate each threshold and comparison of the SQL; the cases must notice
	$(GO) test ./analytics -count=1 -run '^TestMutants$$' -mutants all -timeout 60m

.PHONY: detector-score
detector-score: tools ## score all detectors on 20 simulated markets and write the table of docs/DETECTORS.md
	$(GO) test ./jobs/detect -count=1 -run '^TestDetectorScore$$' -detector-score 20 -update -timeout 60m

.PHONY: detect-bench
detect-bench: tools ## time all detectors over one minute on tapes of 1, 30 and 365 days
	TAPEDECK_BENCH_RUNS=5 $(GO) test ./jobs/detect -run '^$$' -bench '^BenchmarkDetect$$' -benchtime 1x -count 1 -v -timeout 60m

.PHONY: pump-score
pump-score: tools ## score pump_burst on recorded pumps
	$(GO) test ./jobs/detect -count=1 -run '^TestPumpScore$$' -pump-score -v -timeout 60m

.PHONY: tools
tools:
	@GO='$(GO)' scripts/check-tools
