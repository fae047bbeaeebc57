package serving_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// An archive may give a manifest any media type: it is sent as a manifest, so that nobody can make
// it a page of this server. Lists show it so, too.
func TestTypesOfManifests(t *testing.T) {
	const html = "<script>alert(1)</script>"
	subject := imagetest.NewImage(t, "it")
	for _, hostile := range []string{"text/html", "TEXT/HTML; charset=utf-8", "image/svg+xml", "application/javascript", "application/vnd.oci.image.manifest.v1+json\r\nX: y", ""} {
		for _, where := range []string{"document", "descriptor"} {
			l := newLayout(t).add(subject, "team/app:1")
			fields := map[string]any{
				"schemaVersion": 2, "config": subject.Descriptor(), "layers": []v1.Descriptor{},
				"annotations": map[string]string{"x": html}, "subject": subject.Descriptor(),
			}
			d := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Annotations: map[string]string{"io.containerd.image.name": "team/app:2"}}
			if where == "document" {
				fields["mediaType"] = hostile
			} else {
				d.MediaType = hostile
			}
			raw, err := json.Marshal(fields)
			require.NoError(t, err)
			d.Digest, d.Size = digest.FromBytes(raw), int64(len(raw))
			l.file(blobPath(d.Digest), raw)
			l.index.Manifests = append(l.index.Manifests, d)
			s := serve(t, l.write())
			for _, reference := range []string{"2", d.Digest.String()} {
				a := s.do("GET", "/v2/team/app/manifests/"+reference)
				if a.StatusCode == http.StatusOK {
					assert.Equal(t, v1.MediaTypeImageManifest, a.Header.Get("Content-Type"), "%q in the %s", hostile, where)
					assert.Equal(t, raw, a.body)
				} else {
					assert.Equal(t, "application/json", a.Header.Get("Content-Type"))
				}
				assert.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
			}
			var list v1.Index
			require.NoError(t, json.Unmarshal(s.get("team/app/referrers/"+subject.Digest().String()), &list))
			for _, listed := range list.Manifests {
				assert.Equal(t, v1.MediaTypeImageManifest, listed.MediaType)
			}
		}
	}
}

// A manifest is sent to clients that accept it.
func TestAccept(t *testing.T) {
	img := imagetest.NewImage(t, "it")
	s := serve(t, newLayout(t).add(img, "team/app:1").write())
	mediaType := img.Descriptor().MediaType
	for accept, want := range map[string]int{
		"":                                   http.StatusOK,
		mediaType:                            http.StatusOK,
		mediaType + ";q=0.1":                 http.StatusOK,
		"text/html, " + mediaType:            http.StatusOK,
		"*/*":                                http.StatusOK,
		"text/html, */*;q=0.1":               http.StatusOK,
		"application/*":                      http.StatusOK,
		"application/json":                   http.StatusOK,
		"APPLICATION/JSON, nonsense;;":       http.StatusOK,
		v1.MediaTypeImageIndex:               http.StatusNotAcceptable,
		"text/html":                          http.StatusNotAcceptable,
		"text/*":                             http.StatusNotAcceptable,
		"*/*, " + mediaType + ";q=0":         http.StatusNotAcceptable,
		"*/*;q=0":                            http.StatusNotAcceptable,
		"*/*;q=0, application/*":             http.StatusOK,
		fmt.Sprintf("%s;q=0.000", mediaType): http.StatusNotAcceptable,
	} {
		for _, method := range []string{"GET", "HEAD"} {
			a := s.do(method, "/v2/team/app/manifests/1", "Accept", accept)
			assert.Equal(t, want, a.StatusCode, "%s %q", method, accept)
			assert.Equal(t, "Accept", a.Header.Get("Vary"))
			if want != http.StatusOK && method == "GET" {
				assert.Equal(t, "UNSUPPORTED", a.code(t))
			}
		}
	}
	assert.Equal(t, http.StatusOK, s.do("GET", "/v2/team/app/blobs/"+img.ConfigDigest().String(), "Accept", "text/html").StatusCode)
}
