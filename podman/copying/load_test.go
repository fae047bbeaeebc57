package copying_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports"

	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

func loading(t testing.TB, d *imagetest.LoadDaemon) *copying.LoadOptions {
	t.Helper()
	o := &copying.LoadOptions{Reading: copying.Reading{SourceCtx: imagetest.Isolated()}, DestinationCtx: imagetest.Isolated(), Host: d.Host}
	o.RetryAtOnce()
	return o
}

// load loads images, and returns the layers that were sent.
func load(t testing.TB, d *imagetest.LoadDaemon, options *copying.LoadOptions, images ...copying.SaveImage) (*copying.Loaded, map[digest.Digest]bool) {
	t.Helper()
	loaded, err := copying.Load(t.Context(), imagetest.Trusting(t), images, options)
	require.NoError(t, err)
	sent := map[digest.Digest]bool{}
	for name, data := range d.Archives[len(d.Archives)-1] {
		if encoded, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && !strings.HasPrefix(string(data), "{") {
			sent[digest.NewDigestFromEncoded(digest.SHA256, encoded)] = true
		}
	}
	return loaded, sent
}

func digests(layers ...imagetest.Layer) map[digest.Digest]bool {
	set := map[digest.Digest]bool{}
	for _, l := range layers {
		set[l.Digest] = true
	}
	return set
}

// A daemon is sent the layers that it has not got on the layers below them, in any form
// that it knows these by.
func TestLoad(t *testing.T) {
	l := []imagetest.Layer{imagetest.Gzip(1, 1000), imagetest.Gzip(2, 2000), imagetest.Gzip(3, 3000), imagetest.Gzip(4, 4000)}
	base := imagetest.NewImage(t, "base", l[0], l[1])
	app := imagetest.NewImage(t, "app", l[0], l[1], l[2])
	turned := imagetest.NewImage(t, "turned", l[1], l[0], l[3])
	for _, containerd := range []bool{false, true} {
		d := imagetest.NewLoadDaemon(t)
		d.Containerd = containerd
		id := func(img *imagetest.Image) digest.Digest {
			if containerd {
				return img.Digest()
			}
			return img.ConfigDigest()
		}
		options := loading(t, d)
		var planned, read int64
		options.Progress = func(e progress.Event) {
			switch e.Kind {
			case progress.Planned:
				planned = e.Size
			case progress.Read:
				read += int64(e.Bytes)
			default:
				assert.Fail(t, "an event", e)
			}
		}
		loaded, sent := load(t, d, options, named(t, base, "example.com/base:1"))
		assert.Equal(t, digests(l[0], l[1]), sent)
		assert.Equal(t, id(base), loaded.Images[0].ID)
		assert.Equal(t, planned, read)
		assert.Equal(t, read, loaded.Sent)
		assert.Zero(t, loaded.LeftOut)

		loaded, sent = load(t, d, options, named(t, app, "example.com/app:1"), named(t, app, ""))
		assert.Equal(t, digests(l[2]), sent)
		assert.Equal(t, int64(len(l[0].Blob)+len(l[1].Blob)), loaded.LeftOut)
		_, sent = load(t, d, options, named(t, app, "example.com/app:2"))
		assert.Empty(t, sent)

		// A layer that one image lacks is sent, although the other does not need it.
		_, sent = load(t, d, options, named(t, app, "example.com/app:3"), named(t, turned, "example.com/turned:1"))
		want := digests(l[0], l[1], l[3])
		if containerd { // It has them as they are.
			want = digests(l[3])
		}
		assert.Equal(t, want, sent)
		assert.Equal(t, map[string]digest.Digest{
			"example.com/base:1": id(base), "example.com/turned:1": id(turned),
			"example.com/app:1": id(app), "example.com/app:2": id(app), "example.com/app:3": id(app),
		}, d.Names())

		options.Full = true
		_, sent = load(t, d, options, named(t, app, "example.com/app:1"))
		assert.Equal(t, digests(l[:3]...), sent)
	}
}

// Docker's layout has unpacked layers; a daemon that got them compressed knows them all
// the same.
func TestLoadUnpacked(t *testing.T) {
	l := []imagetest.Layer{imagetest.Gzip(1, 1000), imagetest.Gzip(2, 2000)}
	app := imagetest.NewImage(t, "app", l...)
	path := filepath.Join(t.TempDir(), "docker.tar")
	docker := saving(t)
	docker.Transport = dockerarchive.Transport
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, app, "example.com/app:1")}, docker)
	require.NoError(t, err)
	images := inArchive(t, path)

	d := imagetest.NewLoadDaemon(t)
	load(t, d, loading(t, d), named(t, imagetest.NewImage(t, "base", l[0]), "example.com/base:1"))
	loaded, sent := load(t, d, loading(t, d), images...)
	assert.Equal(t, map[digest.Digest]bool{l[1].DiffID(): true}, sent)
	assert.Equal(t, app.ConfigDigest(), d.Names()["example.com/app:1"])
	assert.Empty(t, loaded.Images[0].Warnings)

	// To containerd they are different blobs.
	d = imagetest.NewLoadDaemon(t)
	d.Containerd = true
	load(t, d, loading(t, d), images...)
	options := loading(t, d)
	loaded, sent = load(t, d, options, named(t, app, "example.com/app:2"))
	assert.Empty(t, sent)
	require.Len(t, loaded.Images[0].Warnings, 1)
	assert.Contains(t, loaded.Images[0].Warnings[0], "docker push and docker save")
	options.Full = true
	loaded, _ = load(t, d, options, named(t, app, "example.com/app:2"))
	assert.Empty(t, loaded.Images[0].Warnings)
}

func inArchive(t testing.TB, path string) []copying.SaveImage {
	t.Helper()
	ref, err := dockerarchive.ImageTransport.ParseReference(path)
	require.NoError(t, err)
	images, release, err := copying.AllImages(t.Context(), imagetest.Isolated(), ref)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, release()) })
	return images
}

// A daemon gets the platforms of an index that it keeps, and no artifacts.
func TestLoadPlatforms(t *testing.T) {
	artifact := named(t, imagetest.NewArtifact(t, "application/spdx+json", "sbom", nil), "example.com/sbom:1")
	images := append(inArchive(t, "../../testdata/archives/ctr24.tar:@0"), artifact)
	const multi = "sha256:45d2602b344571424277f0ae5515e160520a245712357743d45b1e1e3095c07e"
	for _, c := range []struct {
		containerd bool
		platforms  []imgspecv1.Platform
		layers     int
		whole      bool
	}{
		{false, nil, 2, false},
		{false, []imgspecv1.Platform{{OS: "linux", Architecture: "arm64"}}, 2, false},
		{true, nil, 3, true},
		{true, []imgspecv1.Platform{{OS: "linux", Architecture: "amd64"}}, 2, false},
	} {
		d := imagetest.NewLoadDaemon(t)
		d.Containerd = c.containerd
		options := loading(t, d)
		options.Platforms = c.platforms
		loaded, sent := load(t, d, options, images...)
		assert.GreaterOrEqual(t, len(sent), c.layers)
		assert.Equal(t, c.whole, loaded.Images[0].ID == multi)
		assert.Contains(t, loaded.Images[1].Skipped, "not a container image but an artifact")
		_, sent = load(t, d, options, images...)
		assert.Empty(t, sent, "all is there")
	}
	d := imagetest.NewLoadDaemon(t)
	_, err := copying.Load(t.Context(), imagetest.Trusting(t), []copying.SaveImage{artifact}, loading(t, d))
	var failed *errdef.ImageError
	require.ErrorAs(t, err, &failed)
	options := loading(t, d)
	options.Platforms = []imgspecv1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
	_, err = copying.Load(t.Context(), imagetest.Trusting(t), images, options)
	require.ErrorContains(t, err, "keeps one platform of an image")
	options.Platforms = []imgspecv1.Platform{{OS: "linux", Architecture: "s390x"}}
	_, err = copying.Load(t.Context(), imagetest.Trusting(t), images, options)
	var noPlatform *errdef.NoPlatformError
	require.ErrorAs(t, err, &noPlatform)
	require.ErrorAs(t, err, &failed)
}

// If a daemon refuses an image because something is missing, or takes it and has not got
// it, the image is sent again with all layers.
func TestLoadRefused(t *testing.T) {
	l := []imagetest.Layer{imagetest.Gzip(1, 1000), imagetest.Gzip(2, 2000), imagetest.Gzip(3, 3000)}
	base, app := imagetest.NewImage(t, "base", l[0], l[1]), imagetest.NewImage(t, "app", l...)
	for name, spoil := range map[string]func(d *imagetest.LoadDaemon, w http.ResponseWriter, r *http.Request) bool{
		"removed meanwhile": func(d *imagetest.LoadDaemon, _ http.ResponseWriter, _ *http.Request) bool {
			d.Forget()
			return false
		},
		"refused at once": func(_ *imagetest.LoadDaemon, w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, `{"message":"not like this"}`, http.StatusInternalServerError)
			return true
		},
		"taken without effect": func(_ *imagetest.LoadDaemon, w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			return true
		},
	} {
		for _, containerd := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				d := imagetest.NewLoadDaemon(t)
				d.Containerd = containerd
				load(t, d, loading(t, d), named(t, base, "example.com/base:1"))
				var loads atomic.Int32
				d.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/images/load" {
						return false
					}
					return loads.Add(1) == 1 && spoil(d, w, r)
				})
				var reasons []error
				options := loading(t, d)
				options.Progress = func(e progress.Event) {
					if e.Kind == progress.Retried {
						reasons = append(reasons, e.Err)
					}
				}
				loaded, sent := load(t, d, options, named(t, app, "example.com/app:1"))
				assert.Equal(t, digests(l...), sent)
				assert.EqualValues(t, 2, loads.Load())
				assert.Len(t, reasons, 1)
				assert.Zero(t, loaded.LeftOut)
				assert.Contains(t, d.Names(), "example.com/app:1")
			})
		}
	}
}

// Nothing is sent again if that would not help.
func TestLoadFails(t *testing.T) {
	l := []imagetest.Layer{imagetest.Gzip(1, 1000), imagetest.Gzip(2, 200_000)}
	base, app := imagetest.NewImage(t, "base", l[0]), imagetest.NewImage(t, "app", l...)
	hangUp := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 10_000)
		panic(http.ErrAbortHandler)
	}
	say := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	for name, c := range map[string]struct {
		path   string
		answer http.HandlerFunc
		want   string
		loads  int
	}{
		"dies while it is sent to": {"/images/load", hangUp, "sending images to the docker daemon: ", 1},
		"answers nonsense":         {"/images/load", say(200, "<html>"), "sending images to the docker daemon: reading its answer: ", 1},
		"answers half":             {"/images/load", say(200, `{"stream":"Load`), "reading its answer: ", 1},
		"refuses":                  {"/images/load", say(200, `{"stream":"x"}{"error":"no space left"}`), "sending images to the docker daemon: no space left", 2},
		"refuses in detail":        {"/images/load", say(200, `{"errorDetail":{"message":"no space"},"error":"no"}`), "no space", 2},
		"refuses at once":          {"/images/load", say(500, `{"message":"it is ill"}`), "500 Internal Server Error: it is ill", 2},
		"is none":                  {"/version", say(200, "<html>"), "asking the docker daemon for its version: parsing its answer: ", 0},
		"says nothing":             {"/version", say(200, "{}"), "does not say what it runs", 0},
		"does not tell itself":     {"/info", say(500, ""), "asking the docker daemon what it is: 500 Internal Server Error", 0},
		"has strange images":       {"/images/json", say(200, `[{"Id":"../x"}]`), `ID "../x"`, 0},
		"tells no images":          {"/images/json", say(200, `{}`), "asking the docker daemon for its images: parsing", 0},
		"tells nothing of an image": {"/images/" + base.ConfigDigest().String() + "/json", say(500, ""),
			"asking the docker daemon about the image sha256:", 0},
		"has another image": {"/images/example.com/app:1/json", say(200, `{"Id":"sha256:1"}`), "example.com/app:1 is sha256:1 there, and not sha256:", 2},
		"has another's layers": {"/images/example.com/app:1/json", say(200, `{"Id":"`+app.ConfigDigest().String()+`"}`),
			"its layers are others", 2},
		"has no image": {"/images/example.com/app:1/json", say(404, `{"message":"No such image"}`), "has not got what it was sent: asking", 2},
	} {
		t.Run(name, func(t *testing.T) {
			d := imagetest.NewLoadDaemon(t)
			load(t, d, loading(t, d), named(t, base, "example.com/base:1"))
			var loads atomic.Int32
			d.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/images/load" {
					loads.Add(1)
				}
				if r.URL.Path == c.path {
					c.answer(w, r)
					return true
				}
				return false
			})
			_, err := copying.Load(t.Context(), imagetest.Trusting(t), []copying.SaveImage{named(t, app, "example.com/app:1")}, loading(t, d))
			require.ErrorContains(t, err, c.want)
			assert.EqualValues(t, c.loads, loads.Load())
		})
	}
}

// An error of an image names the image, and the daemon makes nothing of a part.
func TestLoadDamaged(t *testing.T) {
	app := imagetest.NewImage(t, "app", imagetest.Gzip(1, 1000), imagetest.Gzip(2, 200_000))
	app.Disturb = func(_ context.Context, b digest.Digest, r io.Reader) io.Reader {
		if b == app.Manifest.Layers[1].Digest {
			return io.MultiReader(strings.NewReader("x"), r)
		}
		return r
	}
	d := imagetest.NewLoadDaemon(t)
	_, err := copying.Load(t.Context(), imagetest.Trusting(t), []copying.SaveImage{named(t, app, "example.com/app:1")}, loading(t, d))
	var failed *errdef.ImageError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, transports.ImageName(app), failed.Image)
	assert.NotContains(t, err.Error(), "docker daemon", "it is not to blame")
	assert.Empty(t, d.Names())

	_, err = copying.Load(t.Context(), imagetest.Rejecting(t), []copying.SaveImage{named(t, app, "example.com/app:1")}, loading(t, d))
	require.ErrorAs(t, err, &failed)
	app.Disturb = nil
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	options := loading(t, d)
	options.Progress = func(e progress.Event) {
		if e.Kind == progress.Read {
			cancel(enough)
		}
	}
	_, err = copying.Load(ctx, imagetest.Trusting(t), []copying.SaveImage{named(t, app, "example.com/app:1")}, options)
	require.ErrorIs(t, err, enough)
	assert.Empty(t, d.Archives)
	_, err = copying.Load(t.Context(), imagetest.Trusting(t), nil, loading(t, d))
	require.ErrorContains(t, err, "none is given")
	_, err = copying.Load(t.Context(), imagetest.Trusting(t), nil, &copying.LoadOptions{Host: "localhost"})
	require.ErrorContains(t, err, "is no address of a docker daemon")
	_, err = copying.Load(t.Context(), imagetest.Trusting(t), nil, &copying.LoadOptions{Host: "unix:///x", Context: "y"})
	require.ErrorContains(t, err, "not both")
}

// A layer that containerd knows of and has neither packed nor unpacked is sent.
func TestLoadIncomplete(t *testing.T) {
	l := []imagetest.Layer{imagetest.Gzip(1, 1000), imagetest.Gzip(2, 2000)}
	app := imagetest.NewImage(t, "app", l...)
	d := imagetest.NewLoadDaemon(t)
	d.Containerd = true
	id := app.Digest().String()
	known := `{"Id":"` + id + `","RootFS":{"Layers":["` + l[0].DiffID().String() + `","` + l[1].DiffID().String() + `"]},` +
		`"Manifests":[{"ID":"` + id + `","Available":false,"ImageData":{"Size":{"Unpacked":0}}}]}`
	d.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/images/json":
			_, _ = io.WriteString(w, "["+known+"]")
		case "/images/" + id + "/json":
			_, _ = io.WriteString(w, known)
		default:
			return false
		}
		return true
	})
	_, sent := load(t, d, loading(t, d), named(t, app, "example.com/app:1"))
	assert.Equal(t, digests(l...), sent)
	assert.Len(t, d.Archives, 1)
}
