# Everything a contributor or CI runs. Steps that need more than a few lines are Go programs, named beside them.

IMAGE      ?= holdfast:dev
ENGINE     ?= docker
VERSION    ?= $(shell git describe --tags --always --dirty)
FUZZTIME   ?= 30s
KEEP       ?=

# Integration tests start control planes, and the first run on a machine builds them: minutes, not seconds.
TESTFLAGS  := -race -shuffle=on -timeout=40m
LINT       := go tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help
# Steps come in their order, whatever -j says.
.NOTPARALLEL:

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## a real control plane, real Istio, and pods fixed, refused and left alone (KEEP=1 leaves it running)
	@echo 'Compiling the demo.'
	@go run ./test/prepare ip iptables || echo 'going on without'
	@KEEP=$(KEEP) go run ./test/demo

# The suite that takes longest is named first, so that it is started first: it waits more than it computes, and so do others.
.PHONY: test
test: prepare check-static programs ## everything: lint, verify, unit, integration and kernel tests; what CI runs
	go test $(TESTFLAGS) -p=3 ./test/repair ./...

.PHONY: check
check: check-static unit ## before a commit: vet, lint, verify and the unit tests

.PHONY: unit
unit: ## tests that start nothing: rules, remedies, plans, handlers
	go test $(TESTFLAGS) -short ./...

.PHONY: integration
integration: prepare programs ## tests against a real API server and a real istiod
	go test $(TESTFLAGS) ./test/controlplane/... ./test/vaultinjector/... ./test/integration/...

.PHONY: kernel
kernel: prepare programs ## tests that play injected pods in network namespaces (root)
	go test $(TESTFLAGS) ./test/kernel/...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s)
	@grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's|/[^/]*:func | |' | \
	while read -r package target; do \
		go test -race -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) "$$package" || exit 1; \
	done

.PHONY: bench
bench: ## the benchmarks behind docs/figures.md
	go test -run='^$$' -bench=. -benchmem \
		$$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n1 dirname | sort -u)

.PHONY: build
build: ## bin/holdfast, static
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w -X holdfast.dev/holdfast/cli.version=$(VERSION)' -o bin/holdfast .

.PHONY: image
image: ## the container image IMAGE (holdfast:dev), with ENGINE (docker)
	$(ENGINE) build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

.PHONY: lint
lint: ## go vet and golangci-lint, which is compiled on first use
	go vet ./...
	$(LINT) run ./...

.PHONY: generate
generate: ## the generated pages of docs (rules, remedies, probes, injectors, matrix), and the pods that explain shows
	go run ./docs/generate
	CI= go test ./diagnose/knowledge -run TestExamples -update

# The nested modules under test/modules are not tidied: they require newer versions than Istio asks for, where those it
# asks for cannot be had, and go mod tidy would bring the old ones back.
.PHONY: verify
verify: ## generated files are up to date, modules are tidy
	go run ./docs/verify
	go mod tidy -diff
	cd tools && go mod tidy -diff

.PHONY: clean
clean: ## remove what build made
	rm -rf bin dist

# Steps of other targets.
.PHONY: check-static prepare programs
check-static: verify lint

prepare: # what the tests need of the system: test/prepare installs it, or says what is missing
	@go run ./test/prepare cc ip iptables nft

programs: # etcd, kube-apiserver and the rest, with progress: go test would build them in silence
	@go run ./test/programs
