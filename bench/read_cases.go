package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// input is an archive that a case reads. It is made once and kept with the
// dataset.
type input struct {
	name string
	make func(ctx context.Context, e *env) error // writes it to e.output
}

var (
	oneImage   = input{"one.tar", saveTheirs(1, plainSource)}
	manyImages = input{"many.tar", saveMany}
)

func (e *env) inputPath(in input) string { return filepath.Join(e.data.dir, in.name) }

// prepareInput makes an input unless it is there. Half of one never has its name.
func prepareInput(ctx context.Context, e *env, in input) error {
	path := e.inputPath(in)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := in.make(ctx, e); err != nil {
		return fmt.Errorf("making %s: %w", path, err)
	}
	return os.Rename(e.output, path)
}

// loadTheirs copies the image of an archive to a directory.
func loadTheirs(ctx context.Context, e *env) error {
	src, err := archive.NewReference(e.inputPath(oneImage), nil)
	if err != nil {
		return err
	}
	return e.load(ctx, src)
}

func loadOurs(ctx context.Context, e *env) error {
	src, err := dockerarchive.NewReference(e.inputPath(oneImage), nil)
	if err != nil {
		return err
	}
	return e.load(ctx, src)
}

func (e *env) load(ctx context.Context, src types.ImageReference) error {
	// The destination wants an existing directory, which is then part of what is
	// compared.
	if err := os.Mkdir(e.output, 0o755); err != nil {
		return err
	}
	dst, err := directory.NewReference(e.output)
	if err != nil {
		return err
	}
	return e.copyOne(ctx, dst, src)
}

// archiveReader is what the Readers of both sides have in common.
type archiveReader interface {
	List() ([][]types.ImageReference, error)
	Close() error
}

func listTheirs(ctx context.Context, e *env) error {
	r, err := archive.NewReader(e.system(), e.inputPath(manyImages))
	if err != nil {
		return err
	}
	return errors.Join(e.openAll(ctx, r), r.Close())
}

func listOurs(ctx context.Context, e *env) error {
	r, err := dockerarchive.NewReader(e.system(), e.inputPath(manyImages))
	if err != nil {
		return err
	}
	return errors.Join(e.openAll(ctx, r), r.Close())
}

// openAll opens every image and writes down what it is, to be compared.
func (e *env) openAll(ctx context.Context, r archiveReader) error {
	images, err := r.List()
	if err != nil {
		return err
	}
	var seen strings.Builder
	for _, refs := range images {
		img, err := refs[0].NewImage(ctx, e.system())
		if err != nil {
			return err
		}
		info, err := img.Inspect(ctx)
		if err := errors.Join(err, img.Close()); err != nil {
			return err
		}
		fmt.Fprintln(&seen, refs[0].StringWithinTransport(), info.Layers)
	}
	return os.WriteFile(e.output, []byte(seen.String()), 0o644)
}

// saveMany writes an archive of many images of a shared and a small layer each.
func saveMany(_ context.Context, e *env) error {
	const count = 500
	f, err := os.Create(e.output)
	if err != nil {
		return err
	}
	defer f.Close()
	out := tar.NewWriter(f)
	shared, sharedID, err := addLayer(out, strings.Repeat("shared", 10000))
	if err != nil {
		return err
	}
	type item struct {
		Config           string
		RepoTags, Layers []string
	}
	var items []item
	for i := range count {
		name := ociName(i)
		layer, id, err := addLayer(out, name)
		if err != nil {
			return err
		}
		config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q,%q]}}`, sharedID, id)
		configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
		if err := addFile(out, configName, config); err != nil {
			return err
		}
		items = append(items, item{configName, []string{"example.com/app:" + name}, []string{shared, layer}})
	}
	m, err := json.Marshal(items)
	if err != nil {
		return err
	}
	return errors.Join(addFile(out, "manifest.json", m), out.Close(), f.Close())
}

// addLayer writes a layer of one file and returns its name and diff ID.
func addLayer(out *tar.Writer, content string) (name, diffID string, err error) {
	var layer strings.Builder
	w := tar.NewWriter(&layer)
	if err := errors.Join(addFile(w, "file", []byte(content)), w.Close()); err != nil {
		return "", "", err
	}
	id := fmt.Sprintf("%x", sha256.Sum256([]byte(layer.String())))
	return id + ".tar", "sha256:" + id, addFile(out, id+".tar", []byte(layer.String()))
}

func addFile(out *tar.Writer, name string, content []byte) error {
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o444}); err != nil {
		return err
	}
	_, err := out.Write(content)
	return err
}
