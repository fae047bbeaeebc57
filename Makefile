# Everything a build needs beside Go is here: the tags leave out what would need
# C libraries (gpgme, btrfs), and gRPC's pages of traces, whose templates would keep the linker
# from leaving out what is not used.
TAGS      := containers_image_openpgp,exclude_graphdriver_btrfs,grpcnotrace
GO        ?= go
STATIC    := CGO_ENABLED=0 $(GO)
PLATFORMS := darwin/arm64 windows/amd64 linux/arm
MODULES   := . podman bench interop release

# LINKED is what the command says of the commit that it was built from: nothing without git.
LINKED = -X main.linkedVersion=$(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null) \
	-X main.linkedCommit=$(shell git rev-parse HEAD 2>/dev/null) \
	-X main.linkedDate=$(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null)

.PHONY: build dist dist-check dist-test release demo test test-long crash generate generate-check interop interop-all bench sizes lint cross portable fuzz fuzz-hostile clean

build: bin/docker-archive

# The command is that of the module podman: containers/image under its new name.
.PHONY: bin/docker-archive
bin/docker-archive:
	@mkdir -p bin
	cd podman && $(STATIC) build -tags $(TAGS) -trimpath -ldflags '-s -w $(LINKED)' -o ../$@ ./cmd/docker-archive

# demo turns the small image in testdata into demo.tar and shows it. It needs Go and 2 GB of disk for
# what Go builds, and no docker, podman or network but for Go's modules.
demo: build
	@rm -f demo.tar
	bin/docker-archive copy -q oci:testdata/oci:one docker-archive:demo.tar:example.com/demo:1
	bin/docker-archive verify demo.tar
	@echo "This needed Go and 2 GB of disk. 'docker load -i demo.tar' loads it, 'make clean' removes it."
	bin/docker-archive list demo.tar
	bin/docker-archive layers demo.tar

# pictures makes the pictures of the README anew, from real runs.
.PHONY: pictures
pictures: build
	docs/pictures/session.sh
	docs/pictures/speed.sh

# TEST is go test, with the race detector if there is a C compiler with its headers. It does not vet: make lint does.
TEST = $$(if $(GO) build -race net 2>/dev/null; then echo $(GO) test -vet=off -race -timeout 20m; else \
	echo 'Testing without the race detector, which needs a C compiler.' >&2; \
	echo env $(STATIC) test -vet=off -timeout 20m; fi)

# The race detector has a process wait a second for further races before it ends, and the tests
# start hundreds of them.
test: export GORACE ?= atexit_sleep_ms=0

# FRONT are the packages whose code and tests the module podman generates from the root's. Their tests
# run with the race detector in the root, and in long campaigns in the module podman.
FRONT = . ./e2e ./register

# test tests both modules. It needs Go, but no C compiler, daemon, network or root.
test:
	@test=$(TEST); set -x; $$test -tags $(TAGS) ./... && cd podman && \
	  $$test -tags $(TAGS) $$($(GO) list -tags $(TAGS) ./... | grep -vE '/podman(/e2e|/register)?$$') && \
	  $(STATIC) test -vet=off -timeout 20m -tags $(TAGS) $(FRONT)

# crash kills processes that write and change archives, ten thousand of them.
CRASHES ?= 34
crash:
	cd podman && DOCKERARCHIVE_TEST_LONG=1 $(GO) test -tags $(TAGS) -timeout 120m -count $(CRASHES) -v -run 'TestKilled' ./e2e

# CAMPAIGNS lists the test files that do more with DOCKERARCHIVE_TEST_LONG or without the race detector.
CAMPAIGNS = git grep -lE 'imagetest\.Rounds|raced\.|go:build !race' --
FOLDERS   = xargs -n1 dirname | sort -u | sed 's|^|./|'

# test-long runs the packages of CAMPAIGNS without C, and so without the race detector, for more rounds.
# In the large package copying, it runs only those files. It also tests the modules that make test leaves out.
test-long: export DOCKERARCHIVE_TEST_LONG = 1
test-long: LONG = $(STATIC) test -vet=off -timeout 60m -tags $(TAGS)
test-long:
	$(LONG) $$($(CAMPAIGNS) '*_test.go' ':!e2e' ':!podman' | $(FOLDERS))
	cd podman && $(LONG) $(FRONT) $$($(CAMPAIGNS) '*_test.go' ':!copying' ':!e2e' | $(FOLDERS))
	cd podman && $(LONG) -run "^($$($(CAMPAIGNS) 'copying/*_test.go' | xargs sed -n 's/^func \(Test[A-Za-z0-9]*\)(.*/\1/p' | paste -sd'|' -))\$$" ./copying
	@for m in bench interop; do (set -x; cd $$m && $(LONG) ./...) || exit 1; done
	cd release && $(STATIC) test -count 1 ./... # It reads what Go does not know it reads: the whole repository.

# exact rebuilds layers from thousands of random deltas and broken deltas. It takes half an hour.
.PHONY: exact
exact:
	DOCKERARCHIVE_TEST_EXACT=1 $(STATIC) test -timeout 0 -run 'RandomPairs|Mutated|Bounds' -v ./delta

# generate writes the front of the module podman, the root's under the other import paths, and
# docs/commands.md, the help of all commands.
generate:
	$(GO) run ./internal/podmangen
	cd podman && DOCKERARCHIVE_GENERATE=1 $(STATIC) test -tags $(TAGS) -count 1 -run '^TestCommandsPage$$' ./cmd/docker-archive

generate-check:
	$(GO) run ./internal/podmangen -check

# interop installs real clients (root, Debian) and has them load what we write, some at a time:
# they wait for their daemons and for the disk most of the time.
interop: build
	interop/clients
	cd interop && $(STATIC) test -tags interop,$(TAGS) -count 1 -parallel 4 -timeout 40m ./...

# interop-all is interop with what takes too long for CI.
interop-all: build
	interop/clients --all
	cd interop && $(STATIC) test -tags interop,interopall,$(TAGS) -count 1 -parallel 4 -timeout 120m ./...

# release tags HEAD as a version of both modules: make release VERSION=v1.2.3. It pushes nothing.
release:
	cd release && $(GO) run . $(VERSION)

# dist makes everything that a release consists of, in dist: make dist, or for some platforms
# make dist ONLY=linux/amd64,windows/amd64.
ONLY ?=
dist:
	cd release && $(STATIC) run ./dist -o ../dist -platforms '$(ONLY)'

# dist-check makes it twice, in two folders, and compares the bytes: for one platform, or for all
# by DIST_ALL=1, from nothing by GOCACHE=$$(mktemp -d).
dist-check:
	cd release && $(STATIC) test -tags interop -count 1 -timeout 60m -run '^TestSameBytes$$' ./dist

# dist-test installs the Debian package in a bare Debian and uses it there. It also installs the .rpm with
# rpm. It needs root, debootstrap, rpm and a mirror.
dist-test:
	cd release && $(STATIC) test -tags interop -count 1 -timeout 20m -run '^TestInBareDebian$$' ./dist

# bench compares with other programs, all cases or some: make bench CASES=save,push. It writes the table
# of docs/speed.md. The second table is of deltas, whose layers are made from packages of Debian, npm and Go.
CASES ?=
bench: build
	cd bench && $(STATIC) run -tags $(TAGS) . -page ../docs/speed.md -cases '$(CASES)'
	cd bench && test -n '$(CASES)' || $(STATIC) run -tags $(TAGS) . deltas .data/deltas

# sizes fails if a program that does little with the library, or the command, gets larger than so
# many bytes: what a package links is part of what it costs its users.
sizes:
	@for p in .:internal/sizes/front:6000000 .:internal/sizes/archive:4000000 podman:cmd/docker-archive:38000000; do \
	  IFS=:; set -- $$p; unset IFS; \
	  GOOS=linux GOARCH=amd64 $(STATIC) build -C $$1 -tags $(TAGS) -trimpath -ldflags '-s -w' -o $(CURDIR)/bin/size ./$$2 && \
	  size=$$(stat -c %s bin/size) && rm bin/size && echo "$$2: $$size bytes, of at most $$3" && \
	  test $$size -le $$3 || exit 1; done

# lint also checks the spelling of all text, and that links between pages lead somewhere.
lint: generate-check
	@bad=$$(git ls-files '*.go' | xargs gofmt -l); test -z "$$bad" || { echo "$$bad"; exit 1; }
	@git ls-files '*.go' '*.md' Makefile | grep -v /testdata/ | \
	  xargs env $(STATIC) run github.com/golangci/misspell/cmd/misspell@v0.8.0 -error -i platfrom
	$(STATIC) test -count 1 -run '^TestLinks$$' ./internal
	@for m in $(MODULES); do echo "lint $$m" && (cd $$m && \
	  $(GO) mod tidy -diff && \
	  $(STATIC) vet -tags interop,man,$(TAGS) ./... && \
	  $(STATIC) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 -tags interop,man,$(TAGS) ./...) || exit 1; done

cross:
	@for p in $(PLATFORMS); do for m in . podman; do echo "build $$m for $$p"; \
	  (cd $$m && GOOS=$${p%/*} GOARCH=$${p#*/} $(STATIC) build -tags $(TAGS) ./...) || exit 1; done; done

# RUNS386 succeeds where the kernel runs 32-bit programs; not every one does.
RUNS386 = GOARCH=386 $(STATIC) test -run '^$$' ./internal/async >/dev/null 2>&1

# portable tests what depends on the machine's words and their order: on a
# 32-bit machine, and on a big-endian one by way of Debian's qemu-user.
PORTABLE = ./internal/inflate ./internal/tarfile ./internal/compression
portable:
	@if $(RUNS386); then set -x; GOARCH=386 $(STATIC) test -timeout 30m $(PORTABLE); \
	else echo 'Only compiling for 386: this kernel does not run its programs.'; GOARCH=386 $(STATIC) vet $(PORTABLE); fi
	GOARCH=s390x $(STATIC) test -timeout 30m -exec qemu-s390x $(PORTABLE)

# fuzz looks for new findings for a moment; fuzz longer by FUZZTIME=30m. The default
# is a number of inputs, not a time: Go may report the end of the time as a failure.
FUZZTIME ?= 5000x
FUZZ = $(GO) test -vet=off -tags $(TAGS) -run '^$$' -fuzzminimizetime 10x -fuzztime $(FUZZTIME) -fuzz
fuzz:
	$(FUZZ) '^FuzzStream$$' ./internal/inflate
	$(FUZZ) '^FuzzRoundTrip$$' ./internal/inflate
	$(FUZZ) '^FuzzDeflate$$' -race ./internal/inflate
	@if $(RUNS386); then set -x; GOARCH=386 CGO_ENABLED=0 $(FUZZ) '^FuzzDeflate$$' ./internal/inflate; \
	else echo 'Not fuzzing on 386: this kernel does not run its programs.'; fi
	$(FUZZ) '^FuzzIndex$$' ./internal/tarfile
	$(FUZZ) '^FuzzPlainHeader$$' ./internal/tarfile
	$(FUZZ) '^FuzzReadTables$$' ./internal/image
	$(FUZZ) '^FuzzTables$$' ./internal/layout
	$(FUZZ) '^FuzzSplitFull$$' ./internal/naming
	$(FUZZ) '^FuzzExport$$' ./internal/files
	$(FUZZ) '^FuzzRebuild$$' ./internal/deflate
	$(subst 5000x,500x,$(FUZZ)) '^FuzzMake$$' ./delta
	$(subst 5000x,500x,$(FUZZ)) '^FuzzApply$$' ./delta
	$(subst 5000x,500x,$(FUZZ)) '^FuzzStreams$$' ./delta
	$(FUZZ) '^FuzzDocuments$$' ./archive
	$(subst 5000x,50000x,$(FUZZ)) '^FuzzReadEverything$$' ./archive

# fuzz-hostile looks for archives that commands and an independent reader see differently. It is
# by hand, because what it finds differs from run to run; test-long runs the same 3,000 each time.
fuzz-hostile:
	cd podman && $(FUZZ) '^FuzzHostileArchives$$' ./hostile

clean:
	rm -rf bin dist demo.tar bench/.data interop/.clients
