SHELL := /bin/bash
GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION   := v1.9.0
NFPM_VERSION          := v2.43.4
CYCLONEDX_VERSION     := v1.10.0
TOOLS := $(shell go env GOPATH)/bin

.DEFAULT_GOAL := help

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*##"} /^[a-zA-Z_\/-]+:.*?##/ {printf "  \033[36m%-17s\033[0m %s\n", $$1, $$2} /^##@/ {printf "\n%s\n", substr($$0, 5)}' $(MAKEFILE_LIST)

##@ Develop

.PHONY: build
build: ## Build the binary, ./webhook-worker.
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$$(git describe --tags --always --dirty)" ./cmd/webhook-worker

.PHONY: dist
dist: $(TOOLS)/nfpm $(TOOLS)/cyclonedx-gomod ## Make what is released: binaries, packages, SBOMs and checksums, in dist/.
	@TOOLS=$(TOOLS) packaging/dist

.PHONY: dev
dev: ## Run everything at once on a private PostgreSQL.
	go run ./cmd/webhook-worker dev

.PHONY: generate
generate: ## Make anew what is generated: parts of documents, docs/schema.sql, the environment file of the units.
	go run ./internal/gen

.PHONY: release-database
release-database: build ## Keep a database of this version for the tests of later ones; run it on each release's commit.
	go run ./internal/gen release --binary ./webhook-worker

.PHONY: fmt
fmt: $(TOOLS)/golangci-lint ## Format the code.
	$(TOOLS)/golangci-lint fmt

##@ Check

.PHONY: test
test: ## Run the tests; they need nothing but Go.
	go test ./...

.PHONY: race
race: ## Run the tests with the race detector.
	go test -race ./...

.PHONY: coverage
coverage: ## Measure the coverage of jobs and partners, and write coverage.html.
	go test -coverpkg=./jobs,./partners -coverprofile=coverage.out ./jobs ./partners
	go tool cover -html=coverage.out -o coverage.html
	@go tool cover -func=coverage.out | tail -1

FUZZTIME ?= 20s

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME (20s), after what is in testdata/fuzz.
	@.ci/fuzz $(FUZZTIME)

.PHONY: faults
faults: ## Break workers, databases, networks and partners, and see that nothing is lost; about four minutes.
	go test -count=1 -timeout 15m -tags faults ./faults

.PHONY: reliability
reliability: ## The same, and write what it showed to docs/reliability.md.
	go test -count=1 -timeout 15m -tags faults ./faults -faults.report ../docs/reliability.md

.PHONY: ssrf
ssrf: ## Try to make it call what it must not, in a network namespace; needs root.
	go test -count=1 -timeout 5m -tags ssrf ./ssrf

.PHONY: refusals
refusals: ## The same, and write what was refused to docs/security.md.
	go test -count=1 -timeout 5m -tags ssrf ./ssrf -ssrf.report ../docs/security.md

.PHONY: units
units: ## Look at the systemd units; needs systemd-analyze.
	go test -count=1 -tags units ./systemd

.PHONY: packages
packages: dist ## Install, run, upgrade and purge the .deb in a Debian container; needs root, debootstrap and systemd-nspawn.
	@packaging/try

.PHONY: check-packages
check-packages: $(TOOLS)/nfpm $(TOOLS)/cyclonedx-gomod ## Make the packages for this machine, and look into them; needs dpkg-deb and rpm.
	@TOOLS=$(TOOLS) packaging/check

.PHONY: browser
browser: ## Look at the pages with Chromium, and attack them; needs chromium.
	go test -count=1 -timeout 5m -tags browser -run '^TestBrowser' ./cmd/webhook-worker

.PHONY: rules
rules: ## Check and test the alerts; needs promtool, which Debian has in its package prometheus.
	promtool check rules deploy/prometheus/rules.yaml
	promtool test rules deploy/prometheus/rules_test.yaml

.PHONY: examples
examples: ## Run the examples; needs Node, PHP, Java, and Python and Ruby with PostgreSQL's modules.
	cd examples/verify/node && npm install --no-package-lock --no-audit --no-fund
	cd examples/enqueue/node && npm ci --no-audit --no-fund
	go test -count=1 -tags examples ./examples/... ./deploy/...

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## Run the linters.
	$(TOOLS)/golangci-lint run ./...
	$(TOOLS)/golangci-lint run --build-tags examples ./examples/... ./deploy/...
	$(TOOLS)/golangci-lint run --build-tags faults ./faults/...
	$(TOOLS)/golangci-lint run --build-tags ssrf ./ssrf/...
	$(TOOLS)/golangci-lint run --build-tags browser ./cmd/...
	$(TOOLS)/golangci-lint run --build-tags units ./systemd/...

.PHONY: vulncheck
vulncheck: $(TOOLS)/govulncheck ## Look for known vulnerabilities in what is used; needs the internet.
	$(TOOLS)/govulncheck ./...

.PHONY: check-generated
check-generated: ## Fail if something generated is stale.
	go run ./internal/gen --check
	go mod tidy -diff

.PHONY: bench
bench: ## Run the benchmarks, and write what they showed to docs/performance.md; half an hour.
	go run ./bench throughput --report docs/performance.md
	go run ./bench statements --report docs/performance.md
	go run ./bench stream --report docs/performance.md
	go run ./bench enqueue --report docs/performance.md
	go run ./bench latency --events 500 --only bare --only bare+log --only defaults --report docs/performance.md
	go run ./bench flat --report docs/performance.md
	go run ./bench sizes --report docs/performance.md
	go run ./bench fairness --report docs/performance.md

.PHONY: bench-smoke
bench-smoke: ## Run each benchmark once, at a small size.
	go run ./bench latency --events 50 --rate 200 --duration 1s --skip 0s --rounds 1
	go run ./bench throughput --deliveries 1000 --rounds 1
	go run ./bench statements --deliveries 1000
	go run ./bench stream --events 500 --rounds 1
	go run ./bench enqueue --duration 20ms --rounds 1
	go run ./bench sizes --deliveries 200 --bodies 512,65536 --in-flight 0,100 --rounds 1
	go run ./bench flat --deliveries 500 --backlog 2000 --completed 2000 --dead 1000 --attempts 3000 --retries 2000 --due 300 --expired 500 --rounds 1
	go run ./bench fairness --duration 1s --skip 0s --grace 1s --pending 200
	go run ./bench history --completed 2000 --dead 1000 --cancelled 100 --failed 100 --pending 500 --attempts 10000 --events 100 --rounds 1 --runs 1
	go test -run '^$$' -bench . -benchtime 1x ./...

$(TOOLS)/golangci-lint:
	go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

$(TOOLS)/govulncheck:
	go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)

$(TOOLS)/nfpm:
	go install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)

$(TOOLS)/cyclonedx-gomod:
	go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION)
