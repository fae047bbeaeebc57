# Everything a build needs beside Go is here: the tags leave out what would need
# C libraries (gpgme, btrfs).
TAGS      := containers_image_openpgp,exclude_graphdriver_btrfs
GO        ?= go
STATIC    := CGO_ENABLED=0 $(GO)
PLATFORMS := darwin/arm64 windows/amd64

.PHONY: build demo test interop bench lint cross portable fuzz clean

build: bin/docker-archive

.PHONY: bin/docker-archive
bin/docker-archive:
	@mkdir -p bin
	$(STATIC) build -tags $(TAGS) -trimpath -ldflags '-s -w' -o $@ ./cmd/docker-archive

# demo turns the small image in testdata into demo.tar and shows it.
demo: build
	@rm -f demo.tar
	bin/docker-archive copy oci:testdata/oci:one docker-archive:demo.tar:example.com/demo:1
	tar tvf demo.tar
	@if docker info >/dev/null 2>&1; then (set -x; docker load -i demo.tar); \
	elif command -v podman >/dev/null; then (set -x; podman load -i demo.tar); \
	else echo 'Load it with: docker load -i demo.tar'; fi

# test needs no daemon, no network and no root.
test:
	$(GO) test -race -tags $(TAGS) ./...

# interop installs real clients (root, Debian) and has them load what we write.
interop: build
	interop/clients
	cd interop && $(GO) test -tags interop,$(TAGS) -count 1 -timeout 20m ./...

bench:
	$(STATIC) run -tags $(TAGS) ./bench
	$(STATIC) run -tags $(TAGS) ./bench/inflate bench/.data/oci/blobs/sha256/*

lint:
	$(GO) vet -tags $(TAGS) ./...
	$(GO) vet -tags interop,$(TAGS) ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 -tags interop,$(TAGS) ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GO) mod tidy -diff

cross:
	@for p in $(PLATFORMS); do echo "build $$p"; \
	  GOOS=$${p%/*} GOARCH=$${p#*/} $(STATIC) build -tags $(TAGS) -o /dev/null ./cmd/docker-archive || exit 1; done

# portable tests what depends on the machine's words and their order: on a
# 32-bit machine, and on a big-endian one by way of Debian's qemu-user.
PORTABLE = ./internal/inflate ./internal/tarfile ./internal/compression
portable:
	GOARCH=386 $(STATIC) test $(PORTABLE)
	GOARCH=s390x $(STATIC) test -exec qemu-s390x $(PORTABLE)

# fuzz looks for new findings for a moment; fuzz longer by FUZZTIME=30m.
FUZZTIME ?= 10s
FUZZ = $(GO) test -tags $(TAGS) -run '^$$' -fuzzminimizetime 10x -fuzztime $(FUZZTIME) -fuzz
fuzz:
	$(FUZZ) '^FuzzStream$$' ./internal/inflate
	$(FUZZ) '^FuzzRoundTrip$$' ./internal/inflate
	$(FUZZ) '^FuzzDeflate$$' -race ./internal/inflate
	GOARCH=386 CGO_ENABLED=0 $(FUZZ) '^FuzzDeflate$$' ./internal/inflate
	$(FUZZ) '^FuzzIndex$$' ./internal/tarfile
	$(FUZZ) '^FuzzDocuments$$' ./archive
	$(FUZZ) '^FuzzReadEverything$$' ./archive

clean:
	rm -rf bin demo.tar bench/.data interop/.clients
