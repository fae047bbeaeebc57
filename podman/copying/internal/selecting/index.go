package selecting

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// attestedDigest is the annotation by which BuildKit says which image of an index
// an attestation is about.
const attestedDigest = "vnd.docker.reference.digest"

// Index is an index that can be taken in part.
type Index struct {
	raw         []byte
	fields      map[string]json.RawMessage
	manifests   []json.RawMessage
	descriptors []imgspecv1.Descriptor
}

// ParseIndex parses an index.
func ParseIndex(raw []byte) (*Index, error) {
	x := &Index{raw: raw}
	err := json.Unmarshal(raw, &x.fields)
	if err == nil {
		err = json.Unmarshal(x.fields["manifests"], &x.manifests)
	}
	if err == nil {
		err = image.Decode("manifests", x.fields["manifests"], &x.descriptors)
	}
	if err != nil {
		return nil, fmt.Errorf("parsing its index: %w", err)
	}
	return x, nil
}

// only returns an index of some manifests and of the attestations about them, and its
// entries, in the order of the original.
func (x *Index) only(chosen []digest.Digest) ([]byte, []digest.Digest, error) {
	var kept []json.RawMessage
	var instances []digest.Digest
	for i, d := range x.descriptors {
		about := d.Annotations[attestedDigest]
		if slices.ContainsFunc(chosen, func(c digest.Digest) bool { return c == d.Digest || c.String() == about }) {
			kept = append(kept, x.manifests[i])
			instances = append(instances, d.Digest)
		}
	}
	if len(kept) == len(x.manifests) {
		return x.raw, instances, nil
	}
	list, err := json.Marshal(kept)
	if err != nil {
		return nil, nil, err
	}
	x.fields["manifests"] = list
	raw, err := json.Marshal(x.fields)
	return raw, instances, err
}

// platforms returns the platforms that the index has images for.
func (x *Index) platforms() []string {
	var names []string
	for _, d := range x.descriptors {
		if d.Platform == nil || d.Platform.OS == image.UnknownPlatform {
			continue
		}
		if name := image.PlatformString(d.Platform); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Descriptors returns the entries of the index.
func (x *Index) Descriptors() []imgspecv1.Descriptor { return x.descriptors }

// ChooseInstance returns the manifest for the platform that sys asks for, or a
// NoPlatformError.
func ChooseInstance(list manifest.List, index *Index, sys *types.SystemContext) (digest.Digest, error) {
	d, err := list.ChooseInstance(sys)
	if err == nil {
		return d, nil
	}
	wanted := "this machine's platform"
	if sys != nil && (sys.OSChoice != "" || sys.ArchitectureChoice != "") {
		wanted = image.PlatformString(&imgspecv1.Platform{
			OS:           cmp.Or(sys.OSChoice, runtime.GOOS),
			Architecture: cmp.Or(sys.ArchitectureChoice, runtime.GOARCH),
			Variant:      sys.VariantChoice,
		})
	}
	return "", &errdef.NoPlatformError{Wanted: wanted, Available: index.platforms()}
}

// ParseList parses an index, for choosing from it and for taking a part of it.
func ParseList(raw []byte, mimeType string) (manifest.List, *Index, error) {
	list, err := manifest.ListFromBlob(raw, mimeType)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing its index: %w", err)
	}
	index, err := ParseIndex(raw)
	return list, index, err
}
