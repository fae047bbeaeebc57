package dockerarchive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func readImage(ctx context.Context, ref types.ImageReference) error {
	src, err := ref.NewImageSource(ctx, nil)
	if err != nil {
		return err
	}
	defer src.Close()
	data, mediaType, err := src.GetManifest(ctx, nil)
	if err != nil {
		return err
	}
	type instance struct {
		data      []byte
		mediaType string
	}
	instances := []instance{{data, mediaType}}
	if manifest.MIMETypeIsMultiImage(mediaType) {
		instances = nil
		list, err := manifest.ListFromBlob(data, mediaType)
		if err != nil {
			return err
		}
		for _, d := range list.Instances() {
			data, mediaType, err := src.GetManifest(ctx, &d)
			if err != nil {
				return err
			}
			instances = append(instances, instance{data, mediaType})
		}
	}
	for _, i := range instances {
		m, err := manifest.FromBlob(i.data, i.mediaType)
		if err != nil {
			return err
		}
		blobs := []types.BlobInfo{m.ConfigInfo()}
		for _, l := range m.LayerInfos() {
			blobs = append(blobs, l.BlobInfo)
		}
		for _, b := range blobs {
			stream, _, err := src.GetBlob(ctx, b, nil)
			if err != nil {
				return err
			}
			d, err := digest.FromReader(stream)
			if err := errors.Join(err, stream.Close()); err != nil {
				return err
			}
			if b.Digest.Algorithm() == digest.Canonical && d != b.Digest {
				return fmt.Errorf("blob %s is %s", b.Digest, d)
			}
		}
	}
	return nil
}

// TestCopyOfAFlippedBlob flips a bit of a layer in archives of both kinds.
func TestCopyOfAFlippedBlob(t *testing.T) {
	var m v1.Manifest
	require.NoError(t, json.Unmarshal(origins(t)["one"].manifest, &m))
	stored := ociBlob(t, m.Layers[0].Digest)
	z, err := gzip.NewReader(bytes.NewReader(stored))
	require.NoError(t, err)
	content, err := io.ReadAll(z)
	require.NoError(t, err)
	for file, layer := range map[string][]byte{"skopeo.tar": content, "docker29.tar": stored} {
		data, err := os.ReadFile(filepath.Join("testdata/archives", file))
		require.NoError(t, err)
		at := bytes.Index(data, layer)
		require.Positive(t, at)
		data[at+len(layer)/2] ^= 1
		flipped := digest.FromBytes(data[at : at+len(layer)])
		r := openFile(t, data)
		list, err := r.List()
		require.NoError(t, err)
		err = copyTo(t, list[0][0])
		require.ErrorContains(t, err, digest.FromBytes(layer).String(), file)
		require.ErrorContains(t, err, flipped.String(), file)
		problems, err := r.Verify(context.Background(), nil)
		require.NoError(t, err)
		require.ErrorContains(t, problems[0], digest.FromBytes(layer).String(), file)
		require.ErrorContains(t, problems[0], flipped.String(), file)
	}
}

func copyTo(t testing.TB, src types.ImageReference) error {
	dest, err := directory.NewReference(t.TempDir())
	require.NoError(t, err)
	_, err = copy.Image(context.Background(), acceptAnything(t), dest, src, &copy.Options{ImageListSelection: copy.CopyAllImages})
	return err
}

func TestReadingEndsWithItsContext(t *testing.T) {
	in, out, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close()
	stdin := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = stdin }()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := NewReaderContext(ctx, nil, "-") // Nothing is ever written.
		done <- err
	}()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	r, err := NewReader(nil, "testdata/archives/skopeo.tar")
	require.NoError(t, err)
	defer r.Close()
	_, err = r.Verify(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	list, err := r.List()
	require.NoError(t, err)
	src, err := list[0][0].NewImageSource(ctx, nil)
	require.NoError(t, err)
	stream, _, err := src.GetBlob(ctx, types.BlobInfo{Digest: origins(t)["one"].diffIDs[0]}, nil)
	require.NoError(t, err)
	defer stream.Close()
	_, err = io.ReadAll(stream)
	require.ErrorIs(t, err, context.Canceled)
}
