package dockerarchive

import (
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// imageState is how far an image of a Writer has come.
type imageState int

const (
	imageIdle      imageState = iota // there is a reference, and no destination for it
	imageOpen                        // a destination is being written to
	imageCommitted                   // complete
	imageSealed                      // in the archive
)

// archiveImage is an image of a Writer.
type archiveImage struct {
	state    imageState
	complete *completeImage // while committed
	slots    []plannedSlot  // places of the blobs that are planned to be new with it
	end      *tarfile.Slot  // place of its metadata; nil if that needs none or is not planned
}

// plannedSlot is the place of a blob that is known by the digest under which it
// will be put.
type plannedSlot struct {
	digest digest.Digest
	slot   *tarfile.Slot
}

// releaseSlots gives up the planned places that nothing was written to, except
// for layers that have been written to the places of other images' compressions
// of them.
func (i *archiveImage) releaseSlots(blobs *blobSet) error {
	for _, planned := range i.slots {
		var entry *tarfile.Entry
		if blob := blobs.get(planned.digest); blob != nil {
			entry = blob.entry
		}
		if err := planned.slot.Release(entry); err != nil {
			return err
		}
	}
	i.slots = nil
	return nil
}

func (i *archiveImage) releaseAll(blobs *blobSet) error {
	err := i.releaseSlots(blobs)
	if err == nil && i.end != nil {
		err = i.end.Release(nil)
	}
	return err
}
