//go:build interop

package interop

import (
	"slices"
	"testing"
)

// Names that the archives under test give their images.
const (
	oneName  = "example.com/interop/one:v1"
	twoName  = "example.com/interop/two:v1"
	hubName  = "docker.io/library/interop:latest"
	portName = "localhost:5000/interop/one:v1.0_a-b"
)

// loadArchives are the archives that TestLoad loads, written into dir.
func loadArchives(t *testing.T, dir string) []archive {
	t.Helper()
	return slices.Concat(ourArchives(t, dir), imageArchives(t, dir), grownArchives(t, dir), foreignArchives(t, dir))
}

// ourArchives are written by the command under test, or by the library behind it.
func ourArchives(t *testing.T, dir string) []archive {
	t.Helper()
	one := layoutImage(t, testLayout, "one")
	two := layoutImage(t, testLayout, "two")
	// The layers of zstd have the content of those of two, and the configs are the
	// same.
	zstd := layoutImage(t, testLayout, "zstd")
	// skopeo takes the platform it runs on from an index, the first of this one.
	multi := layoutImages(t, testLayout, "multi")

	from := func(ref string, names ...string) string {
		return copyArchive(t, dir, "oci:"+testLayout+":"+ref, names...)
	}
	return []archive{
		{
			name:   "one name",
			path:   from("one", oneName),
			images: []expectation{{image: one, names: []string{oneName}}},
		},
		{
			name:   "several names",
			path:   from("one", oneName, hubName, portName),
			images: []expectation{{image: one, names: []string{oneName, hubName, portName}}},
		},
		{
			name:   "no name",
			path:   from("one"),
			images: []expectation{{image: one}},
			refused: map[string]string{
				"containerd 1.6":       "no image is listed",
				"containerd 2.4":       "no image is listed",
				"containerd 2.4 local": "no image is listed",
			},
		},
		{
			name:   "zstd layers",
			path:   from("zstd", twoName),
			images: []expectation{{image: zstd, names: []string{twoName}}},
		},
		{
			name:   "one of several platforms",
			path:   from("multi", twoName),
			images: []expectation{{image: multi[0], names: []string{twoName}}},
		},
		{
			name: "several images",
			path: writeArchive(t, dir, copied{"one", []string{oneName, hubName}}, copied{"two", []string{twoName}}),
			images: []expectation{
				{image: one, names: []string{oneName, hubName}},
				{image: two, names: []string{twoName}},
			},
			refused: map[string]string{
				"crane": "tarball must contain only a single image",
			},
		},
	}
}

// foreignArchives are archives of other clients, of kinds that the command does
// not write.
func foreignArchives(t *testing.T, dir string) []archive {
	t.Helper()
	one := layoutImage(t, testLayout, "one")
	zstd := layoutImage(t, testLayout, "zstd")
	multi := layoutImages(t, testLayout, "multi")
	return []archive{
		{
			// Shows what clients make of zstd layers themselves.
			name:      "original zstd layers",
			path:      regctlExport(t, dir, "zstd", twoName),
			images:    []expectation{{image: zstd, names: []string{twoName}}},
			manifests: true,
			refused: map[string]string{
				"docker 20.10": "unexpected EOF",
				"crane":        "gzip: invalid header",
			},
		},
		{
			name: "original manifests and platforms",
			path: "../testdata/archives/ctr24.tar",
			images: []expectation{
				{image: multi[0], others: multi[1:], names: []string{"127.0.0.1:5111/tiny/multi:v1"}},
				{image: one, names: []string{"127.0.0.1:5111/tiny/one:v1"}},
			},
			manifests: true,
			refused: map[string]string{
				"regctl": "could not find requested tag", // two images have the same
				"crane":  "tarball must contain only a single image",
			},
		},
	}
}
