//go:build interop

package interop

import (
	"testing"
)

// loadArchives are the archives that TestLoad loads: written by the command under test into dir,
// and one from testdata.
func loadArchives(t *testing.T, dir string) []archive {
	t.Helper()
	one := layoutImage(t, testLayout, "one")
	two := layoutImage(t, testLayout, "two")
	// The layers of zstd hold what those of two do, and the configs are the same.
	zstd := layoutImage(t, testLayout, "zstd")
	// skopeo takes the platform it runs on from an index, the first of this one.
	multi := layoutImages(t, testLayout, "multi")[0]

	const (
		oneName  = "example.com/interop/one:v1"
		twoName  = "example.com/interop/two:v1"
		hubName  = "docker.io/library/interop:latest"
		portName = "localhost:5000/interop/one:v1.0_a-b"
	)
	from := func(ref string, names ...string) string {
		return copyArchive(t, dir, "oci:"+testLayout+":"+ref, names...)
	}
	return []archive{
		{
			name:   "one name",
			path:   from("one", oneName),
			images: []expectation{{one, []string{oneName}}},
		},
		{
			name:   "several names",
			path:   from("one", oneName, hubName, portName),
			images: []expectation{{one, []string{oneName, hubName, portName}}},
		},
		{
			name:   "no name",
			path:   from("one"),
			images: []expectation{{one, nil}},
			refused: map[string]string{
				"containerd 1.6": "no image is listed",
				"containerd 2.4": "no image is listed",
			},
		},
		{
			name:   "zstd layers",
			path:   from("zstd", twoName),
			images: []expectation{{zstd, []string{twoName}}},
		},
		{
			name:   "one of several platforms",
			path:   from("multi", twoName),
			images: []expectation{{multi, []string{twoName}}},
		},
		{
			name: "several images",
			path: "../testdata/archives/podman-multi.tar",
			images: []expectation{
				{one, []string{"127.0.0.1:5111/tiny/one:v1", "127.0.0.1:5111/tiny/one:again"}},
				{two, []string{"127.0.0.1:5111/tiny/two:v1"}},
			},
			refused: map[string]string{
				"crane": "tarball must contain only a single image",
			},
		},
	}
}
