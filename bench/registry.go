package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
)

const (
	repository = "bench/app"
	movedPath  = "/moved"
)

// layoutBlobs serves the blobs of the OCI layout and counts what is sent. The
// handler for disks that the registry package has reads and hashes every blob
// before it sends it, which no real registry does.
type layoutBlobs struct {
	data    *dataset
	fetched atomic.Int64
}

// Stat implements registry.BlobStatHandler.
func (b *layoutBlobs) Stat(_ context.Context, _ string, h v1.Hash) (int64, error) {
	info, err := os.Stat(b.path(h))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Get implements registry.BlobHandler. ServeHTTP is asked instead.
func (b *layoutBlobs) Get(_ context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	return os.Open(b.path(h))
}

func (b *layoutBlobs) path(h v1.Hash) string {
	return b.data.blobPath(digest.NewDigestFromEncoded(digest.Algorithm(h.Algorithm), h.Hex))
}

// ServeHTTP sends a blob, or a range of one. The registry package copies ranges itself,
// where a registry would have the kernel send them.
func (b *layoutBlobs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, err := v1.NewHash(path.Base(r.URL.Path))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f, err := os.Open(b.path(h))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close() // It was only read.
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", h.String())
	http.ServeContent(countedResponse{w, &b.fetched}, r, "", time.Time{}, f)
}

// countedResponse adds what is sent to a total. It leaves the reading to the connection,
// so that the kernel can send a file.
type countedResponse struct {
	http.ResponseWriter
	total *atomic.Int64
}

// Write implements io.Writer.
func (c countedResponse) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.total.Add(int64(n))
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (c countedResponse) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.total.Add(n)
	return n, err
}

// serveRegistry serves the dataset until standard input ends, which it does
// when the process that started this one is gone. It prints its addresses, one for each
// of the networks.
func serveRegistry(data *dataset) error {
	blobs := &layoutBlobs{data: data}
	images := registry.New(registry.WithBlobHandler(blobs), registry.Logger(log.New(io.Discard, "", 0)))
	mux, pushed := http.NewServeMux(), newSink()
	mux.Handle("/", images)
	mux.Handle(forgetPath, pushed)
	mux.Handle("/v2/"+sinkRepository+"/", pushed)
	mux.Handle("GET /v2/"+repository+"/blobs/{digest}", blobs)
	mux.HandleFunc(movedPath, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, blobs.fetched.Load()+pushed.received.Load())
	})
	server := &http.Server{Handler: mux}
	failed := make(chan error, len(networks))
	var addresses []string
	for _, n := range networks {
		listener, err := n.listen()
		if err != nil {
			return errors.Join(err, server.Close())
		}
		go func() { failed <- server.Serve(listener) }()
		addresses = append(addresses, listener.Addr().String())
	}
	if err := putManifests(data, addresses[fast]); err != nil {
		return errors.Join(err, server.Close())
	}
	fmt.Println(strings.Join(addresses, " "))
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close() // Nobody is left to be told.
	}()
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func putManifests(data *dataset, address string) error {
	for n, image := range data.Images {
		b, err := os.ReadFile(data.blobPath(image.Manifest.Digest))
		if err != nil {
			return err
		}
		url := fmt.Sprintf("http://%s/v2/%s/manifests/%s", address, repository, ociName(n))
		req, err := http.NewRequest(http.MethodPut, url, bytes.NewReader(b))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", image.Manifest.MediaType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			return fmt.Errorf("putting a manifest into the registry: %s", resp.Status)
		}
	}
	return nil
}

// registryProcess is a registry in a process of its own, so that its memory and
// time are not those of the runs.
type registryProcess struct {
	cmd       *exec.Cmd
	stdin     io.Closer
	addresses []string // in the networks
}

func startRegistry(ctx context.Context, o *options) (*registryProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-child", registryChild, "-data", o.data)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &registryProcess{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(errors.New("the registry did not start"), p.stop())
	}
	if p.addresses = strings.Fields(line); len(p.addresses) != len(networks) {
		return nil, errors.Join(fmt.Errorf("the registry has the addresses %q", p.addresses), p.stop())
	}
	return p, nil
}

// moved returns the bytes of blobs that the registry has sent and received so far.
func (p *registryProcess) moved() (int64, error) {
	resp, err := http.Get("http://" + p.addresses[fast] + movedPath)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var n int64
	err = json.NewDecoder(resp.Body).Decode(&n)
	return n, err
}

func (p *registryProcess) stop() error {
	return errors.Join(p.stdin.Close(), p.cmd.Wait())
}
