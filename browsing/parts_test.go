package browsing

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/showcase"
)

func TestParseSBOM(t *testing.T) {
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v0.1","predicate":%s,"predicateType":"https://spdx.dev/Document"}`, showcase.SPDX)
	envelope := fmt.Sprintf(`{"payloadType":"application/vnd.in-toto+json","payload":%q}`, base64.StdEncoding.EncodeToString([]byte(statement)))
	for name, document := range map[string]string{"SPDX": showcase.SPDX, "statement": statement, "envelope": envelope, "bundle": `{"dsseEnvelope":` + envelope + `}`} {
		t.Run(name, func(t *testing.T) {
			s, err := parseSBOM([]byte(document))
			require.NoError(t, err)
			assert.Equal(t, "SPDX 2.3", s.format)
			assert.Equal(t, []software{{Name: "ca-certificates", Version: "20260101", License: "MPL-2.0"}, {Name: "tzdata", Version: "2026a-1", License: "LicenseRef-public-domain"}}, s.packages)
		})
	}
	for _, order := range []string{`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[]}`, `{"specVersion":"1.6","components":[],"bomFormat":"CycloneDX"}`} {
		s, err := parseSBOM([]byte(order))
		require.NoError(t, err)
		assert.Equal(t, "CycloneDX 1.6", s.format)
	}
	for _, broken := range []string{``, `[]`, `{`, `{}`, `{"packages":3}`, `{"spdxVersion":"SPDX-2.3","packages":[3]}`, `{"spdxVersion":"SPDX-2.3","packages":[{}`, `{"payload":"!"}`} {
		_, err := parseSBOM([]byte(broken))
		require.ErrorIs(t, err, errdef.ErrDamaged, broken)
	}
	s, err := parseSBOM([]byte(`{"spdxVersion":"SPDX-2.3","packages":[` + strings.Repeat(`{},`, maxPackages) + `{}]}`))
	require.NoError(t, err)
	assert.Len(t, s.packages, maxPackages)
	assert.True(t, s.cut)
}

func FuzzParseSBOM(f *testing.F) {
	f.Add([]byte(showcase.SPDX))
	f.Add([]byte(showcase.CycloneDX))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseSBOM(data) })
}

func TestSigners(t *testing.T) {
	o := &opened{}
	layer := imgspecv1.Descriptor{MediaType: mediaTypeSimple}
	assert.Equal(t, []string{"a key"}, o.signers(t.Context(), []imgspecv1.Descriptor{layer}))
	layer.Annotations = map[string]string{annotationCertificate: showcase.CertificatePEM(t, "https://example.com/me", "https://issuer.example.com")}
	assert.Equal(t, []string{"https://example.com/me (https://issuer.example.com)"}, o.signers(t.Context(), []imgspecv1.Descriptor{layer}))
	for document, who := range map[string]string{
		`{"verificationMaterial":{"publicKey":{"hint":"x"}}}`:                                      "a key",
		`{"verificationMaterial":{"certificate":{"rawBytes":"AAAA"}}}`:                             "an unreadable certificate",
		`{"verificationMaterial":3}`:                                                               "an unreadable signature",
		`{"header":{"x5c":["AAAA"]}}`:                                                              "an unreadable certificate",
		`{"verificationMaterial":{"x509CertificateChain":{"certificates":[{"rawBytes":"AAAA"}]}}}`: "an unreadable certificate",
	} {
		assert.Equal(t, who, signerOf([]byte(document)), document)
	}
}

// Tiles are within the picture, do not overlap, and their size is proportional to
// their entries.
func TestPictureIsInProportion(t *testing.T) {
	for name, sizes := range map[string][]int64{
		"none": nil, "one": {5}, "two": {1 << 40, 1}, "equal": {7, 7, 7, 7, 7, 7, 7}, "falling": {600, 300, 200, 100, 60, 30, 20, 10, 5, 1}, "others last": {50, 10, 400},
	} {
		t.Run(name, func(t *testing.T) {
			var tiles []tile
			sum := int64(0)
			for _, n := range sizes {
				tiles = append(tiles, tile{Title: strings.Repeat("n", 30), Size: n})
				sum += n
			}
			p := draw(tiles, 1160, 280)
			require.Len(t, p.Tiles, len(sizes))
			for i, a := range p.Tiles {
				assert.True(t, a.X >= 0 && a.Y >= 0 && a.X+a.W <= p.Width+.01 && a.Y+a.H <= p.Height+.01, "%+v", a)
				if a.W > 0 && a.H > 0 {
					assert.InEpsilon(t, float64(sizes[i])/float64(sum), (a.W+2)*(a.H+2)/(p.Width*p.Height), .001)
				}
				for _, b := range p.Tiles[i+1:] {
					assert.False(t, a.X+.01 < b.X+b.W && b.X+.01 < a.X+a.W && a.Y+.01 < b.Y+b.H && b.Y+.01 < a.Y+a.H, "%+v and %+v", a, b)
				}
				assert.LessOrEqual(t, len([]rune(a.Name)), 30)
			}
		})
	}
}

func TestText(t *testing.T) {
	for n, s := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 1234567: "1.23 MB", 999_999: "1 MB", 1 << 62: "4.61 EB"} {
		assert.Equal(t, s, humanSize(n))
	}
	for link, want := range map[string]string{
		"https://example.com/x?y": "https://example.com/x?y", "http://example.com": "http://example.com", "javascript:alert(1)": "", "HTTPS://example.com": "https://example.com",
		"data:text/html,x": "", "//example.com": "", "https:": "", "https://exa\u202emple.com": "", "ftp://example.com": "", "": "", "java\nscript:x": "",
	} {
		assert.Equal(t, want, webLink(link), link)
	}
	for path, want := range map[string]string{"/a/b.tar": "/a/b.tar", "a b": "'a b'", "it's": `'it'\''s'`, "a\nb": `$'a\nb'`, "$(x)": "'$(x)'"} {
		assert.Equal(t, want, quoted(path))
	}
	for in, want := range map[string]string{
		"RUN /bin/sh -c make  x # buildkit": "RUN make x", `/bin/sh -c #(nop)  CMD ["x"]`: `CMD ["x"]`, "/bin/sh -c make": "RUN make", "COPY a b # buildkit": "COPY a b", "RUN /app": "RUN /app", "": "",
	} {
		assert.Equal(t, want, createdBy(in))
	}
	assert.True(t, validHost("host.example:5000") && validHost("[::1]:5000"))
	assert.False(t, validHost("") || validHost("a;b") || validHost("$(x)"))
}
