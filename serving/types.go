package serving

import (
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/archive"
	imagedoc "github.com/dockerarchive/dockerarchive/internal/image"
)

// manifestTypes are the media types that manifests and indexes are sent as. With any
// other media type from an archive, a browser could take one for a page of this server.
var manifestTypes = []string{
	imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex, imagedoc.DockerManifest, imagedoc.DockerList,
	"application/vnd.oci.artifact.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws",
}

// manifestType returns the media type to send a manifest or an index as.
func manifestType(m *archive.Manifest) string {
	switch {
	case slices.Contains(manifestTypes, m.MediaType):
		return m.MediaType
	case m.IsIndex():
		return imgspecv1.MediaTypeImageIndex
	}
	return imgspecv1.MediaTypeImageManifest
}

// accepts reports whether a client takes a media type. A client that names none takes
// all. The most precise of its ranges counts, with any weight except 0.
func accepts(header http.Header, mediaType string) bool {
	ranges := header.Values("Accept")
	if strings.TrimSpace(strings.Join(ranges, "")) == "" {
		return true
	}
	best, accepted := 0, false
	for _, r := range strings.Split(strings.Join(ranges, ","), ",") {
		name, parameters, err := mime.ParseMediaType(r)
		if err != nil {
			name, _, _ = strings.Cut(r, ";") // Parameters do not change the meaning.
			name = strings.ToLower(strings.TrimSpace(name))
		}
		precision := 0
		switch {
		case name == mediaType:
			precision = 4
		case name == "application/json" && strings.HasSuffix(mediaType, "+json"):
			precision = 3 // All of them are JSON.
		case name == "application/*":
			precision = 2
		case name == "*/*", name == "*":
			precision = 1
		default:
			continue
		}
		weight, err := strconv.ParseFloat(parameters["q"], 64)
		wanted := err != nil || weight > 0
		if precision > best {
			best, accepted = precision, wanted
		} else if precision == best {
			accepted = accepted || wanted
		}
	}
	return accepted
}
