package copying_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// A layer with URLs is taken from the registry, or else from its URLs. It is left out
// only if both say that there is no such thing.
func TestLayersElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		registry, url int // statuses; 0 gives the layer
		fails, absent bool
		again         bool // it is listed without its URL too
	}{
		"in the registry":      {0, 500, false, false, false},
		"at the URL":           {404, 0, false, false, false},
		"nowhere":              {404, 404, false, true, false},
		"gone":                 {404, 410, false, true, false},
		"the URL fails":        {404, 403, true, false, false},
		"the registry refuses": {403, 404, true, false, false},
		"nowhere, and needed":  {404, 404, true, false, true},
	} {
		layer := imagetest.Gzip(1, 3000)
		reg := imagetest.NewRegistry(t)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.url != 0 {
				w.WriteHeader(c.url)
				return
			}
			_, _ = w.Write(layer.Blob)
		}))
		t.Cleanup(server.Close)
		layer.URLs = []string{server.URL + "/layer"}
		layer.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
		m := imagetest.NewImage(t, "foreign", layer, imagetest.Gzip(2, 100))
		plain := layer
		plain.URLs, plain.MediaType = nil, imagetest.Gzip(1, 1).MediaType
		reg.Push(t, "foreign:1", imagetest.NewImage(t, "foreign", plain))
		if c.again {
			m = imagetest.NewImage(t, "foreign", layer, plain)
		}
		src := reg.Push(t, "foreign:1", m)
		reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if c.registry == 0 || !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
				return false
			}
			w.WriteHeader(c.registry)
			return true
		})
		for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
			for _, by := range []string{"copy", "save"} {
				path := filepath.Join(t.TempDir(), "out.tar")
				ref, err := transport.ParseReference(path)
				require.NoError(t, err)
				if by == "copy" {
					_, err = copying.Copy(t.Context(), imagetest.Trusting(t), ref, src, &copying.CopyOptions{Options: copy.Options{
						SourceCtx: imagetest.RegistryContext(t), DestinationCtx: imagetest.Isolated(),
					}})
				} else {
					_, err = copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{{Source: src}}, &copying.SaveOptions{
						Reading:        copying.Reading{SourceCtx: imagetest.RegistryContext(t)},
						Transport:      transport,
						DestinationCtx: imagetest.Isolated(),
					})
				}
				if c.fails || c.absent && transport == dockerarchive.Transport {
					require.ErrorContains(t, err, server.URL, "%s: %s to %s", name, by, transport.Name())
					continue
				}
				require.NoError(t, err, "%s: %s to %s", name, by, transport.Name())
				_, names := imagetest.Files(t, imagetest.ReadFile(t, path))
				if transport == dockerarchive.ImageTransport {
					assert.Equal(t, !c.absent, strings.Contains(strings.Join(names, " "), layer.Digest.Encoded()), "%s: %s", name, by)
				}
			}
		}
	}
}
