package image

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Tree is what an image, or an image index, leads to: it tells the configs without reading
// the image.
type Tree struct {
	Documents []digest.Digest // manifests and indexes below the image's own, in the order of a walk, each once
	Configs   []digest.Digest // of all manifests, in the same order, each once
}

// TreeOf returns the tree of an image. ok is false if a part of it is not there.
func TreeOf(img *Image) (t Tree, ok bool) {
	seen := map[digest.Digest]bool{}
	var walk func(d *Document) bool
	walk = func(d *Document) bool {
		if d == nil {
			return false
		}
		if seen[d.Descriptor.Digest] {
			return true
		}
		seen[d.Descriptor.Digest] = true
		t.Add(img.Digest(), d.Descriptor.Digest, d.Config)
		for _, child := range d.Manifests {
			if !walk(img.Find(child.Digest)) {
				return false
			}
		}
		return true
	}
	return t, walk(img.Top())
}

// Add notes a document that the image with the digest top leads to. config is nil if it has
// none.
func (t *Tree) Add(top, document digest.Digest, config *v1.Descriptor) {
	if document != top {
		t.Documents = append(t.Documents, document)
	}
	if config != nil && !slices.Contains(t.Configs, config.Digest) {
		t.Configs = append(t.Configs, config.Digest)
	}
}

// AppendTree appends a tree in the form that ParseTrees reads. A tree with other digests than
// SHA-256 is left out.
func AppendTree(b []byte, top digest.Digest, t Tree) []byte {
	start := len(b)
	b = binary.AppendUvarint(b, uint64(len(t.Documents)))
	b = binary.AppendUvarint(b, uint64(len(t.Configs)))
	var ok bool
	for _, all := range [][]digest.Digest{{top}, t.Documents, t.Configs} {
		for _, d := range all {
			if b, ok = appendHash(b, d); !ok {
				return b[:start]
			}
		}
	}
	return b
}

// appendHash appends the hash in a SHA-256 digest.
func appendHash(b []byte, d digest.Digest) (_ []byte, ok bool) {
	s := d.String()
	if !isSHA256(s) {
		return b, false
	}
	b, err := hex.AppendDecode(b, []byte(s[len("sha256:"):]))
	return b, err == nil
}

// ParseTrees returns the trees in data, by the digests of their images. A tree that cannot be
// parsed counts as absent.
func ParseTrees(data []byte) map[digest.Digest]Tree {
	trees := map[digest.Digest]Tree{}
	number := func() (n uint64, ok bool) {
		n, length := binary.Uvarint(data)
		if length <= 0 || n > uint64(len(data))/sha256.Size {
			return 0, false
		}
		data = data[length:]
		return n, true
	}
	for len(data) > 0 {
		documents, okDocuments := number()
		configs, okConfigs := number()
		count := 1 + documents + configs
		if !okDocuments || !okConfigs || count > uint64(len(data))/sha256.Size {
			return trees
		}
		all := make([]digest.Digest, count)
		for i := range all {
			all[i] = SHA256([sha256.Size]byte(data))
			data = data[sha256.Size:]
		}
		trees[all[0]] = Tree{Documents: all[1 : 1+documents], Configs: all[1+documents:]}
	}
	return trees
}
