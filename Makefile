# Slipway: everything goes through here, and `make` alone lists it. Every target may be called at any time, as root or
# as a user of the docker group; what is done already is not done again. It needs Go, and Debian 12 or later for setup.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules --no-print-directory

STATE  ?= .state
SUITE  ?= trixie
MIRROR ?= http://deb.debian.org/debian

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null)
ARCH    := $(shell go env GOARCH)
TOOLS   := cmd/slipway/tools/linux-$(ARCH)
ARCHES  := amd64 arm64 ppc64le s390x
PACKS   := $(patsubst buildpacks/%/buildpack.toml,%,$(wildcard buildpacks/*/buildpack.toml))

# The version of the lifecycle is the reference's whose behaviour it has, marked as Slipway's: platforms choose by it
# what they may ask for (pack: no creator before 0.7.4, no extensions with it before 0.19). The mark is a pre-release
# and no build metadata, because pack makes an image tag of the version and a tag may have no "+". It is one word with
# the commit, since a part of a version that is digits alone may not begin with 0.
LIFECYCLE_VERSION := 0.21.17-slipway-$(VERSION)

# Static binaries whose bytes depend on the source alone. The version goes into what prints one, and not into the
# launcher: it is in every app image, which should not change with every commit here.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false
STAMPED  := -ldflags "-s -w -X main.version=$(VERSION) -X main.lifecycleVersion=$(LIFECYCLE_VERSION)"
LIFECYCLE_STAMPED := -ldflags "-s -w -X main.version=$(LIFECYCLE_VERSION) -X main.commit=$(COMMIT) -X main.repository=github.com/slipway-build/slipway"
PLAIN    := -ldflags "-s -w"

# The race detector: in CI, or with RACE=1.
RACE_ON := $(filter 1 true yes,$(RACE) $(CI))
# These look at other processes, which are built without the detector, or run the command line as a process of its own:
# what runs at once in it is tested where it is.
# Builds run at once in the daemon's tests, which are watched; of platform's own those are that build side by side, and of
# the console's, most of whose time is a browser's, those that follow a log.
UNRACED := builder/base cmd/slipway conformance parity bench buildpacks/.* internal/lifecycle.* internal/platform internal/console
SIDEWAYS := ^(TestSideBySide|TestSameAfterCancel|TestStream.*|TestCancelAndRetry)$$
UNRACED := ^github.com/slipway-build/slipway/($(subst $() ,|,$(strip $(UNRACED))))$$

# Others' packages that only turn bytes into bytes are compiled without the detector, in which a run would spend most of
# its time: compression, and SQLite, C made Go, on memory that the detector knows nothing of. Who calls them is watched as
# ever. A package may be here only if it has no generic code of sync or sync/atomic compiled into it (go tool nm), but that
# of sync.Pool, which tells the detector itself: one copy of such code is linked for all, and one that is not watched
# makes what is in order look like a race.
UNWATCHED := compress/flate github.com/klauspost/compress/flate modernc.org/sqlite/lib
RACE_TEST := CGO_ENABLED=1 go test -race $(UNWATCHED:%=-gcflags=%=-race=false)

# The longest tests begin first, so that at the end both of two cores have something to do.
LONGEST := ./cmd/slipway ./internal/platform ./internal/daemon ./internal/console ./internal/container/docker

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: ## install what is missing (apt), start a Docker Engine where no init system does
	@go run ./internal/setup --state "$(STATE)" $(if $(RACE_ON),--race)

.PHONY: build
build: lifecycle ## bin/slipway, with the agent, the lifecycle and the launcher inside
	@$(GO_BUILD) $(PLAIN) -o $(TOOLS)/agent ./cmd/agent
	@$(GO_BUILD) $(PLAIN) -o $(TOOLS)/classic ./buildpacks/classic
	@$(GO_BUILD) $(STAMPED) -o bin/slipway ./cmd/slipway

# $(call build-lifecycle,<directory>,<arch>): the two binaries. The launcher is in every app image: at most 4 MiB.
define build-lifecycle
mkdir -p $(1); \
GOOS=linux GOARCH=$(2) $(GO_BUILD) $(LIFECYCLE_STAMPED) -o $(1)/lifecycle ./cmd/lifecycle; \
GOOS=linux GOARCH=$(2) $(GO_BUILD) $(PLAIN) -o $(1)/launcher ./cmd/launcher; \
size=$$(stat -c %s $(1)/launcher); if (( size > 4 * 1024 * 1024 )); then echo "$(1)/launcher has $$size bytes; at most 4 MiB may go into every app image" >&2; exit 1; fi
endef
MKLIFECYCLE = go run ./internal/lifecycle/mklifecycle --version $(LIFECYCLE_VERSION)

# Until it was a directory, bin/lifecycle was the binary.
.PHONY: lifecycle
lifecycle: ## the drop-in lifecycle: bin/lifecycle/ and bin/lifecycle.tgz
	@if [[ -f bin/lifecycle ]]; then rm -f bin/lifecycle bin/launcher; fi
	@mkdir -p $(TOOLS); $(call build-lifecycle,bin/lifecycle,$(ARCH))
	@$(MKLIFECYCLE) --dir bin/lifecycle --archive bin/lifecycle.tgz
	@for f in lifecycle launcher; do cmp -s bin/lifecycle/$$f $(TOOLS)/$$f || install -m 0755 bin/lifecycle/$$f $(TOOLS)/$$f; done

.PHONY: lifecycle-all
lifecycle-all: $(ARCHES:%=bin/lifecycle-$(LIFECYCLE_VERSION)-linux-%.tgz) ## a tarball for every architecture

bin/lifecycle-$(LIFECYCLE_VERSION)-linux-%.tgz: FORCE
	@$(call build-lifecycle,bin/lifecycle-linux/$*,$*)
	@$(MKLIFECYCLE) --dir bin/lifecycle-linux/$* --archive $@
	@stat -c '%n  %s bytes' $@

.PHONY: lifecycle-image
lifecycle-image: build ## bin/lifecycle-image (OCI layout), and slipway/lifecycle in the local store and Docker
	@rm -rf bin/lifecycle-image
	@$(MKLIFECYCLE) --dir bin/lifecycle --arch $(ARCH) --image bin/lifecycle-image
	@bin/slipway images import slipway/lifecycle:$(LIFECYCLE_VERSION) oci:bin/lifecycle-image
	@bin/slipway images import slipway/lifecycle oci:bin/lifecycle-image

.PHONY: buildpacks
buildpacks: $(PACKS:%=bin/buildpacks/%) ## bin/buildpacks/<name>, ready for builder.toml

.PHONY: FORCE
bin/buildpacks/%: FORCE
	@mkdir -p $@/bin
	@$(GO_BUILD) $(PLAIN) -o $@/bin/main ./buildpacks/$*
	@ln -sfn main $@/bin/detect
	@ln -sfn main $@/bin/build
	@install -m 0644 buildpacks/$*/buildpack.toml $@/buildpack.toml

.PHONY: base
base: ## bin/base/{build,run}: base images from Debian packages (SUITE, MIRROR; FRESH=1 for the newest packages)
	@go run ./builder/base/mkbase --out bin/base --suite "$(SUITE)" --mirror "$(MIRROR)" $(if $(FRESH),--fresh)

# What the builder is made of, as one digest: unchanged and still there means done.
BUILDER_OF = cat builder.toml bin/slipway bin/base/build/index.json bin/base/run/index.json \
	$$(find bin/buildpacks -type f | LC_ALL=C sort) | sha256sum

.PHONY: builder
builder: build buildpacks base ## the builder image slipway/builder, from builder.toml
	@grep -q '"slipway/run:$(SUITE)"' builder.toml || { echo "builder.toml stands on another suite than $(SUITE): change build.image and run.images in it" >&2; exit 1; }
	@if [[ -f bin/builder.of && "$$(cat bin/builder.of)" == "$$($(BUILDER_OF))" ]] && bin/slipway builder inspect slipway/builder >/dev/null 2>&1; then \
		echo "builder slipway/builder is unchanged"; \
	else \
		rm -f bin/builder.of; \
		bin/slipway images import slipway/build:$(SUITE) oci:bin/base/build; \
		bin/slipway images import slipway/run:$(SUITE) oci:bin/base/run; \
		bin/slipway builder create slipway/builder --config builder.toml; \
		$(BUILDER_OF) > bin/builder.of; \
	fi

# Node comes from nodejs.org, or from the npm registry where only that can be reached.
.PHONY: setup-demo
setup-demo: ## what make demo needs: for root runc and no Docker, else as setup
	@go run ./internal/setup --state "$(STATE)" --demo

.PHONY: demo
demo: setup-demo builder ## build three real apps, start each image, ask it for a page; then the service, and a git push to it
	@mirror="$${BP_NODE_MIRROR-}"; \
	if [[ -z "$$mirror" ]] && ! curl -fsI --max-time 10 -o /dev/null https://nodejs.org/dist/index.json; then \
		echo "nodejs.org cannot be reached from here: Node comes from the npm registry (BP_NODE_MIRROR=npm:)"; mirror=npm:; \
	fi; \
	start=$$SECONDS; \
	for app in node go static; do \
		echo; echo "==> bin/slipway build demo-$$app --path fixtures/apps/$$app --run --check"; \
		BP_NODE_MIRROR="$$mirror" bin/slipway build demo-$$app --path fixtures/apps/$$app --builder slipway/builder \
			--env BP_NODE_MIRROR --run --check $(DEMO_FLAGS); \
	done; \
	echo; echo "three apps built, started and asked in $$((SECONDS - start)) s"
	@fixtures/service-demo.sh

.PHONY: test
test: setup builder ## all tests, skipping nothing (RACE=1, or CI=true: with the race detector)
	$(if $(RACE_ON),failed=; \
	go test -timeout 40m $(TESTFLAGS) $$(go list $(LONGEST) ./... | grep -E '$(UNRACED)') || failed=1; \
	$(RACE_TEST) -timeout 40m $(TESTFLAGS) $$(go list $(LONGEST) ./... | grep -vE '$(UNRACED)') || failed=1; \
	$(RACE_TEST) -timeout 40m $(TESTFLAGS) -run '$(SIDEWAYS)' ./internal/platform ./internal/console || failed=1; \
	[[ -z "$$failed" ]],go test -timeout 40m $(TESTFLAGS) ./...)
	@$(MAKE) --no-print-directory -o builder -o build -o buildpacks suites SUITES="procfile static" # those that download nothing

.PHONY: soak
soak: setup builder ## kill the service at every kill point, and at random times while clients use it (KILLS=300, SOAKFLAGS=-soak.seed=N)
	go test -v -timeout 8h -run 'TestSoak$$|TestKillPoints$$' ./internal/daemon -kill.all -soak.kills=$(or $(KILLS),300) $(SOAKFLAGS)

# A real forge before the service. It has cgo in it, and is no part of what is built here.
GITEA := code.gitea.io/gitea@v1.24.6
GITEA_SOURCE = $$(cd /tmp && go mod download -json $(GITEA) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p')

bin/gitea:
	@echo "building $(GITEA), which takes some minutes"
	@cd "$(GITEA_SOURCE)" && CGO_ENABLED=1 go build -buildvcs=false -tags sqlite,sqlite_unlock_notify -o "$(CURDIR)/bin/gitea" .

.PHONY: suites
suites: build buildpacks builder ## the own tests of our buildpacks, buildpack.test.toml of each (SUITES="static procfile", SUITEFLAGS)
	@mirror="$${BP_NODE_MIRROR-}"; \
	if [[ -z "$$mirror" ]] && ! curl -fsI --max-time 10 -o /dev/null https://nodejs.org/dist/index.json; then mirror=npm:; fi; \
	failed=; for p in $(or $(SUITES),$(PACKS)); do echo "==> $$p"; \
		BP_NODE_MIRROR="$$mirror" bin/slipway buildpack test bin/buildpacks/$$p --config buildpacks/$$p/buildpack.test.toml \
			--builder slipway/builder --env BP_NODE_MIRROR $(SUITEFLAGS) || failed=1; \
	done; [[ -z "$$failed" ]]

.PHONY: forge
forge: setup bin/gitea ## a push to a real Gitea: its webhook, one build, the commit's statuses
	go test -v -count=1 -timeout 20m -tags forge -run 'TestGitea$$' ./internal/daemon -gitea "$(CURDIR)/bin/gitea" -gitea.source "$(GITEA_SOURCE)"

.PHONY: same
same: setup builder ## every sample app on every output, with every runtime, with and without cache: one digest (APPS=node,go)
	@mirror="$${BP_NODE_MIRROR-}"; \
	if [[ -z "$$mirror" ]] && ! curl -fsI --max-time 10 -o /dev/null https://nodejs.org/dist/index.json; then mirror=npm:; fi; \
	BP_NODE_MIRROR="$$mirror" go test -v -timeout 120m -run 'TestAppsSame$$' ./cmd/slipway -apps $(or $(APPS),all)

.PHONY: check
check: ## formatting, vet, modernisation, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [[ -n "$$unformatted" ]]; then echo "gofmt -w these:" >&2; echo "$$unformatted" >&2; exit 1; fi
	go vet ./...
	go vet -tags forge ./internal/daemon
	go fix -diff ./...
	go tool staticcheck ./...

.PHONY: bench
bench: setup builder ## side by side with pack (on PATH, LIFECYCLE: what it runs) and the reference (REFERENCE=DIR) (BENCHFLAGS)
	@go run ./bench $(BENCHFLAGS)

.PHONY: parity
parity: lifecycle ## the same images as another lifecycle, whose directory is PARITY_LIFECYCLE (as root; PARITYFLAGS)
	@go run ./parity $(PARITYFLAGS)

.PHONY: conformance
conformance: $(if $(LIFECYCLE),,lifecycle) ## the spec's clauses, on bin/lifecycle or LIFECYCLE=DIR (CONFORMANCEFLAGS)
	@go run ./conformance -lifecycle "$(or $(LIFECYCLE),bin/lifecycle)" \
		$(if $(LIFECYCLE),,-known conformance/known/slipway.toml) $(CONFORMANCEFLAGS)

AXE := 4.14.1

bin/axe/of-$(AXE):
	@rm -rf bin/axe; npm install --prefix bin/axe --no-audit --no-fund --loglevel=error axe-core@$(AXE)
	@touch $@

.PHONY: audit
audit: setup bin/axe/of-$(AXE) ## axe-core over every page of the console, light, dark and as wide as a phone (needs npm)
	go test -v -count=1 -run 'TestPagesForEverybody$$' ./internal/console -axe "$(CURDIR)/bin/axe/node_modules/axe-core/axe.min.js"

HEROKU := 11.10.0

bin/heroku/of-$(HEROKU):
	@rm -rf bin/heroku; npm install --prefix bin/heroku --no-audit --no-fund --loglevel=error heroku@$(HEROKU)
	@touch $@

.PHONY: clients
clients: setup-demo builder bin/heroku/of-$(HEROKU) ## the published heroku command line against the service (needs npm; HEROKU=version)
	@go run ./clients $(CLIENTSFLAGS)

.PHONY: index
index: setup builder ## our buildpacks through Debian's registry, the service's index and pack, packages both ways (PACK=path, INDEXFLAGS)
	@go run ./interchange -pack "$(or $(PACK),pack)" $(INDEXFLAGS)

.PHONY: clean
clean: ## remove what was built (not images, caches, or an engine that setup started)
	rm -rf bin $(wildcard cmd/slipway/tools/linux-*)
