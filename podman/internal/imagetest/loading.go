package imagetest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// LoadDaemon answers as a Docker daemon for linux/amd64 into which archives are loaded.
// Like Docker, it knows the names, IDs and layers of images, each layer by the layers
// below it.
type LoadDaemon struct {
	Host       string // a socket
	Containerd bool   // containerd keeps the images: it goes by index.json

	// Interceptor may answer requests instead. It is called for one request at a time.
	Interceptor

	mu       sync.Mutex
	images   map[digest.Digest]*loadedImage
	chains   map[string]bool        // joined diff IDs of layers that are unpacked
	content  map[digest.Digest]bool // blobs, of containerd
	Archives []map[string][]byte    // that were sent to the end, by their files
}

type loadedImage struct {
	ID        digest.Digest `json:"Id"`
	RepoTags  []string
	RootFS    struct{ Layers []digest.Digest }
	Manifests []loadedManifest `json:",omitempty"`
}

type loadedManifest struct {
	ID        digest.Digest
	Available bool
	ImageData struct {
		Platform v1.Platform
		Size     struct{ Unpacked int64 }
	}
}

// NewLoadDaemon starts a daemon without images.
func NewLoadDaemon(t testing.TB) *LoadDaemon {
	t.Helper()
	d := &LoadDaemon{}
	d.Forget()
	server := httptest.NewUnstartedServer(d)
	dir, err := os.MkdirTemp("", "daemon") // The paths of sockets are short.
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	require.NoError(t, server.Listener.Close())
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	d.Host = "unix://" + socket
	return d
}

// Forget removes all images. An interceptor may call it.
func (d *LoadDaemon) Forget() {
	d.images, d.chains, d.content = map[digest.Digest]*loadedImage{}, map[string]bool{}, map[digest.Digest]bool{}
}

// Names returns the IDs of images by their names.
func (d *LoadDaemon) Names() map[string]digest.Digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := map[string]digest.Digest{}
	for id, img := range d.images {
		for _, name := range img.RepoTags {
			names[name] = id
		}
	}
	return names
}

// UseContainerd sets Containerd although other processes may ask the daemon already.
func (d *LoadDaemon) UseContainerd() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Containerd = true
}

// ServeHTTP implements http.Handler.
func (d *LoadDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Answer(w, r) {
		return
	}
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) } // The client notices an error.
	switch name := inspected(r); {
	case r.URL.Path == "/version":
		answer(map[string]string{"Os": "linux", "Arch": "amd64"})
	case r.URL.Path == "/info" && d.Containerd:
		answer(map[string]any{"DriverStatus": [][]string{{"driver-type", "io.containerd.snapshotter.v1"}}})
	case r.URL.Path == "/info":
		answer(map[string]any{"DriverStatus": [][]string{{"Backing Filesystem", "extfs"}}})
	case r.URL.Path == "/images/json":
		answer(slices.Collect(maps.Values(d.images)))
	case r.URL.Path == "/images/load":
		if err := d.load(r.Body); err != nil {
			answer(map[string]any{"errorDetail": map[string]string{"message": err.Error()}, "error": err.Error()})
			return
		}
		answer(map[string]string{"stream": "Loaded image\n"})
	default:
		for id, img := range d.images {
			if id.String() == name || slices.Contains(img.RepoTags, name) {
				answer(img)
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
		answer(map[string]string{"message": "No such image: " + name})
	}
}

func (d *LoadDaemon) load(body io.Reader) error {
	files := map[string][]byte{}
	for r := tar.NewReader(body); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			files[h.Name] = b.Bytes()
		}
	}
	d.Archives = append(d.Archives, files)
	if d.Containerd {
		return d.loadIndex(files)
	}
	var items []Item
	if err := json.Unmarshal(files["manifest.json"], &items); err != nil {
		return err
	}
	for _, item := range items {
		img := &loadedImage{ID: digest.FromBytes(files[item.Config]), RepoTags: item.RepoTags}
		var err error
		if img.RootFS.Layers, err = d.unpack(files[item.Config], item.Layers, files); err != nil {
			return err
		}
		d.add(img)
	}
	return nil
}

// add has an image take its names from others.
func (d *LoadDaemon) add(img *loadedImage) {
	if old := d.images[img.ID]; old != nil {
		img.RepoTags = append(img.RepoTags, old.RepoTags...)
	}
	for n, name := range img.RepoTags {
		if !strings.Contains(strings.Split(name, "/")[0], ".") {
			img.RepoTags[n] = "docker.io/library/" + name
		}
	}
	for _, other := range d.images {
		other.RepoTags = slices.DeleteFunc(other.RepoTags, func(name string) bool { return slices.Contains(img.RepoTags, name) })
	}
	d.images[img.ID] = img
}

// unpack takes the layers of an image that are not there.
func (d *LoadDaemon) unpack(config []byte, layers []string, files map[string][]byte) ([]digest.Digest, error) {
	var parsed v1.Image
	if err := json.Unmarshal(config, &parsed); err != nil {
		return nil, err
	}
	if len(layers) != len(parsed.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%d layers, %d diff IDs", len(layers), len(parsed.RootFS.DiffIDs))
	}
	chain := ""
	for n, l := range layers {
		chain += "," + parsed.RootFS.DiffIDs[n].String()
		if files[l] == nil && !d.chains[chain] {
			return nil, fmt.Errorf("open %s: no such file or directory", l)
		}
		d.chains[chain] = true
	}
	return parsed.RootFS.DiffIDs, nil
}

func (d *LoadDaemon) loadIndex(files map[string][]byte) error {
	var index v1.Index
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		return err
	}
	for name := range files {
		if encoded, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
			d.content[digest.NewDigestFromEncoded(digest.SHA256, encoded)] = true
		}
	}
	for _, listed := range index.Manifests {
		img := &loadedImage{ID: listed.Digest}
		if name := listed.Annotations["io.containerd.image.name"]; name != "" {
			img.RepoTags = []string{name}
		}
		if err := d.loadManifest(img, listed, files); err != nil {
			return err
		}
		d.add(img)
	}
	return nil
}

// loadManifest adds a manifest, or all that an index lists, to an image.
func (d *LoadDaemon) loadManifest(img *loadedImage, listed v1.Descriptor, files map[string][]byte) error {
	raw := files[blobName(listed.Digest)]
	var either struct {
		v1.Manifest
		Manifests []v1.Descriptor
	}
	if err := json.Unmarshal(raw, &either); err != nil {
		return err
	}
	for _, l := range either.Manifests {
		if files[blobName(l.Digest)] == nil {
			continue // An index need not be complete.
		}
		if err := d.loadManifest(img, l, files); err != nil {
			return err
		}
	}
	if len(either.Manifests) > 0 {
		return nil
	}
	m := loadedManifest{ID: listed.Digest, Available: true}
	var layers []string
	for _, l := range either.Layers {
		layers = append(layers, blobName(l.Digest))
		m.Available = m.Available && d.content[l.Digest]
	}
	config := files[blobName(either.Config.Digest)]
	if err := json.Unmarshal(config, &m.ImageData.Platform); err != nil {
		return err
	}
	if m.ImageData.Platform.Architecture == "amd64" {
		withContent := maps.Clone(files)
		for l := range d.content {
			withContent[blobName(l)] = []byte{}
		}
		var err error
		if img.RootFS.Layers, err = d.unpack(config, layers, withContent); err != nil {
			return err
		}
		m.ImageData.Size.Unpacked = 4096
	}
	img.Manifests = append(img.Manifests, m)
	return nil
}

func blobName(d digest.Digest) string { return "blobs/sha256/" + d.Encoded() }
