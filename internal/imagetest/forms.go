package imagetest

import (
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Form is an image, and the same image in the form in which containers/image can
// write it.
type Form struct{ Image, Theirs *Image }

// Forms returns images in every form that their blobs come in, by what is special
// about them.
func Forms(t testing.TB) map[string]Form {
	t.Helper()
	a, b, big := Gzip(1, 3000), Gzip(2, 5000), Gzip(3, 200_000)
	pieces := func(data []byte) []byte { return append(Gzipped(data[:700]), Gzipped(data[700:])...) }
	skippable := func(data []byte) []byte {
		return append([]byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z'}, Zstandard(data)...)
	}
	frames := func(data []byte) []byte { return append(Zstandard(data[:700]), Zstandard(data[700:])...) }
	none := func(data []byte) []byte { return data }
	plain, oneZstd, oneGzip := v1.MediaTypeImageLayer, v1.MediaTypeImageLayerZstd, v1.MediaTypeImageLayerGzip
	foreign := a
	foreign.URLs = []string{"http://localhost:1/unreachable"}
	foreign.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	bz := Bzip2()
	image := func(layers ...Layer) *Image { return NewImage(t, "form", layers...) }
	return map[string]Form{
		"no layers":                     {image(), image()},
		"one layer":                     {image(a), image(a)},
		"many layers":                   {image(a, b, big), image(a, b, big)},
		"the same layer twice":          {image(a, b, a), image(a, b, a)},
		"the same layer next to itself": {image(a, a), image(a, a)},
		"the same layer in two forms":   {image(a, a.In(none, plain)), image(a, a)},
		"empty layer":                   {image(NewLayer(nil, nil, plain)), image(NewLayer(nil, Gzipped(nil), oneGzip))},
		"plain":                         {image(big.In(none, plain)), image(big)},
		"several gzip members":          {image(big.In(pieces, oneGzip)), image(big)},
		"zstd":                          {image(big.In(Zstandard, oneZstd)), image(big)},
		"zstd, skippable frame first":   {image(big.In(skippable, oneZstd)), image(big)},
		"several zstd frames":           {image(big.In(frames, oneZstd)), image(big)},
		"xz":                            {image(a.In(XZ, plain)), image(a)},
		"bzip2":                         {image(bz), image(bz.InGzip())},
		"everything mixed":              {image(a, b.In(XZ, plain), bz, big.In(Zstandard, oneZstd)), image(a, b, bz.InGzip(), big)},
		"sha512":                        {image(sha512(a), sha512(b.In(none, plain))), image(a, b)},
		"wrong media type":              {image(b.In(Zstandard, oneGzip)), image(b)},
		"foreign layers":                {image(foreign), image(a)},
	}
}

func sha512(l Layer) Layer {
	l.Digest = digest.SHA512.FromBytes(l.Blob)
	return l
}

// Small returns a small image with layers of every kind, for tests of faults in
// many places.
func Small(t testing.TB) *Image {
	t.Helper()
	return NewImage(t, "faults", Gzip(1, 3000), Plain(2, 2000), Zstd(3, 4000), Gzip(4, 10))
}
