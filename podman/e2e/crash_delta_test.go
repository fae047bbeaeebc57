//go:build unix

package e2e_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

func init() { children["adddelta"] = addDelta }

// monthly returns a layer of a month. That of February is that of January with some changes.
func monthly(t testing.TB, february bool) imagetest.Layer {
	t.Helper()
	text := bytes.Clone(imagetest.Plain(21, 120_000).Blob)
	if february {
		copy(text[50_000:], "what is new in February")
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return imagetest.NewLayer(text, packed.Bytes(), v1.MediaTypeImageLayerGzip)
}

// dots prints a dot before each read.
type dots struct{ io.ReaderAt }

// ReadAt implements io.ReaderAt.
func (r dots) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		fmt.Print(".")
		var read int
		read, err = r.ReaderAt.ReadAt(p[n:min(len(p), n+2000)], off+int64(n))
		n += read
	}
	return n, err
}

// addDelta adds delta.tar of a directory to january.tar, and prints a dot for every piece of a base
// that it reads, and for everything else that happens.
func addDelta(t *testing.T, dir string) error {
	old := monthly(t, false)
	bases := archive.NewBases(archive.BasesOptions{TempDir: dir})
	defer bases.Close()
	bases.AddLayer(archive.BaseLayer{From: "january", Digest: old.Digest, Size: int64(len(old.Blob)), DiffID: digest.FromBytes(old.Diff), Open: func(context.Context) (io.ReaderAt, int64, func(), error) {
		return dots{bytes.NewReader(old.Blob)}, int64(len(old.Blob)), func() {}, nil
	}})
	ref, err := dockerarchive.ImageTransport.ParseReference(filepath.Join(dir, "delta.tar"))
	if err != nil {
		return err
	}
	if ref, err = dockerarchive.WithBases(ref, bases); err != nil {
		return err
	}
	images, release, err := copying.AllImages(t.Context(), nil, ref)
	defer release()
	if err != nil {
		return err
	}
	_, err = copying.Add(t.Context(), imagetest.Trusting(t), filepath.Join(dir, "january.tar"), images, &copying.AddOptions{Reading: copying.Reading{Progress: func(progress.Event) { fmt.Print(".") }}, DestinationCtx: imagetest.Isolated()})
	fmt.Print(".")
	return err
}

// A process that is killed while it adds a delta, and makes the layers again for that, leaves the
// old archive or the complete new one, and nothing else.
func TestKilledWhileAddingDelta(t *testing.T) {
	kills := imagetest.Rounds(t, 12, 100)
	dir := t.TempDir()
	january, delta := filepath.Join(dir, "january.tar"), filepath.Join(dir, "delta.tar")
	require.NoError(t, copyTo(t, dockerarchive.ImageTransport, january, "january:1", imagetest.NewImage(t, "1", monthly(t, false))))
	begin := imagetest.ReadFile(t, january)
	old := namesIn(t, begin)
	saveDelta(t, january, delta)

	moments := 0
	complaints, ended := killAt(t, child(t, "adddelta", dir), func(byte) bool { moments++; return false })
	require.True(t, ended)
	both := namesIn(t, imagetest.ReadFile(t, january))
	require.Len(t, both, 2, "%s", complaints)
	require.Greater(t, moments, 20)
	without, with := 0, 0
	for i := range kills {
		require.NoError(t, os.WriteFile(january, begin, 0o600))
		left := moments - (kills-1-i)*moments/kills // The last is when all is done.
		killAt(t, child(t, "adddelta", dir), func(byte) bool { left--; return left == 0 })
		switch got := namesIn(t, imagetest.ReadFile(t, january)); {
		case assert.ObjectsAreEqual(old, got):
			without++
		case assert.ObjectsAreEqual(both, got):
			with++
		default:
			require.Fail(t, "neither the old nor the new archive", "kill %d: %v", i, got)
		}
		assert.Equal(t, []string{"delta.tar", "january.tar"}, imagetest.Leftovers(t, dir))
	}
	_, _ = killAt(t, child(t, "adddelta", dir), func(byte) bool { return false })
	assert.Equal(t, both, namesIn(t, imagetest.ReadFile(t, january)))
	assert.Positive(t, without)
	assert.Positive(t, with)
	t.Logf("%d kills at %d moments: %d times January's archive, %d times both", kills, moments, without, with)
}

// saveDelta saves February's image as a delta of the archive of January.
func saveDelta(t *testing.T, january, delta string) {
	t.Helper()
	bases := archive.NewBases(archive.BasesOptions{})
	defer bases.Close()
	a, err := archive.Open(t.Context(), january)
	require.NoError(t, err)
	defer a.Close()
	require.NoError(t, bases.AddArchive(t.Context(), "january.tar", a))
	img := copying.SaveImage{Source: imagetest.NewImage(t, "2", monthly(t, true)), Name: imagetest.Tagged(t, "february:1")}
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), delta, []copying.SaveImage{img}, &copying.SaveOptions{
		Transport: dockerarchive.ImageTransport, DestinationCtx: imagetest.Isolated(), Delta: bases, Without: &copying.Without{},
	})
	require.NoError(t, err)
	info, err := os.Stat(delta)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(30_000))
}
