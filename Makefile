# Each target is one command that a person could type. `make` alone explains them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
comma   := ,
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.PHONY: help
help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: tools ## build bin/tapedeck
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/tapedeck ./cmd/tapedeck

.PHONY: demo
demo: build ## all of it in under a minute, on nothing but this machine
	bin/tapedeck demo

.PHONY: test
test: tools ## the tests, with the race detector; no network but for the modules
	@# without what only debuggers read: built a fifth faster
	GORACE=atexit_sleep_ms=0 $(GO) test -race -short -vet=off -gcflags=all=-dwarf=false -ldflags='-s -w' ./...

.PHONY: test-all
test-all: tools ## all tests, also those that take long, without the race detector
	$(GO) test -timeout 20m $(GOTESTFLAGS) ./...

.PHONY: sched-soak
sched-soak: tools ## kill the scheduler at 50 random instants over simulated days
	SCHEDULE_KILLS=50 $(GO) test -count=1 -v -run 'TestKilledAtAnyInstant' ./jobs/schedule

.PHONY: lint
lint: tools ## gofmt, go vet, staticcheck, go mod tidy
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

.PHONY: bench
bench: tools ## measure, side by side, and write the table in BENCHMARKS.md
	$(GO) run ./cmd/bench

.PHONY: bench-quick
bench-quick: tools ## the same in under two minutes: one run of each, without the long ones
	$(GO) run ./cmd/bench -quick

.PHONY: bench-large
bench-large: tools ## what make bench does not wait for, five times each, and write the second table; 33 minutes
	$(GO) run ./cmd/bench -large

.PHONY: bench-growth
bench-growth: tools ## what commands cost on tapes of 1 to 1,000 million trades; a quarter of an hour and 12 GB, or SIZES=1,10,100
	$(GO) run ./cmd/bench -growth $(or $(SIZES),1$(comma)10$(comma)100$(comma)1000)

.PHONY: soak
soak: tools ## three minutes of kill -9, faults and a full volume, then the tape against the truth; SEED=random
	$(GO) test -count=1 -v -timeout 20m -run '^TestSoak$$' ./jobs/soak -soak 3m -seed $(or $(SEED),1)

.PHONY: crash
crash: tools ## each operation on the disk goes wrong in every way: minutes
	$(GO) test -count=1 -timeout 30m -run '^TestEachOperationGoesWrong$$' ./internal/tape -every

.PHONY: telegram-soak
telegram-soak: tools ## 500 messages to a stand-in Telegram, the sender killed 20 times
	TAPEDECK_TELEGRAM_SOAK=full $(GO) test -count=1 -v -run '^TestSendingThroughKills$$' ./jobs/notify

.PHONY: image-test
image-test: tools ## build the image and the compose stack and prove DOCKER.md on a real container engine
	TAPEDECK_IMAGE_TEST=1 $(GO) test -count=1 -v -timeout 45m ./image

.PHONY: sql-mutants
sql-mutants: tools ## change each threshold and comparison of the SQL: do the cases notice?
	$(GO) test ./analytics -count=1 -run '^TestMutants$$' -mutants all -timeout 60m

.PHONY: detector-score
detector-score: tools ## score all detectors on 20 simulated markets; the table goes into README.md
	$(GO) test ./jobs/detect -count=1 -run '^TestDetectorScore$$' -detector-score 20 -update -timeout 60m

.PHONY: detect-bench
detect-bench: tools ## what a run of all detectors over one minute costs, on tapes of 1, 30 and 365 days in turn
	TAPEDECK_BENCH_RUNS=5 $(GO) test ./jobs/detect -run '^$$' -bench '^BenchmarkDetect$$' -benchtime 1x -count 1 -v -timeout 60m

.PHONY: pump-score
pump-score: tools ## score pump_burst on recorded pumps
	$(GO) test ./jobs/detect -count=1 -run '^TestPumpScore$$' -pump-score -v -timeout 60m

.PHONY: tools
tools:
	@GO='$(GO)' scripts/check-tools
