// Package progress has the events that a program gets while images are copied, saved,
// pushed, loaded or made: one type for all of it.
package progress

import (
	"strconv"

	"github.com/opencontainers/go-digest"
)

// Kind says what an Event is about.
type Kind int

// The kinds of events. More may come.
const (
	// Planned says how many distinct layers and configs are to be fetched, in Blobs, how
	// many bytes they have, in Size, and how many others are there already, in Present. No
	// more events tell of those.
	Planned Kind = iota
	// Started says that a Blob is read; Size bytes are expected. Image is the one that
	// needs it when images are saved, empty if several do.
	Started
	// Read says that so many more Bytes of a Blob have arrived.
	Read
	// Retried says that something is about to be tried again after Err: reading a Blob,
	// which goes on at Offset, or the manifest of an Image.
	Retried
	// Finished says that a Blob is where it should be or, in Err, why it is not.
	Finished
	// Waiting says that a Host has sent nothing for 50 seconds. After 60 its connection
	// counts as broken, and the request is tried again; the limit is five minutes for a
	// registry that has something to store, and for copies.
	Waiting
)

// String returns the name of the kind, in lower case.
func (k Kind) String() string {
	names := []string{"planned", "started", "read", "retried", "finished", "waiting"}
	if k < 0 || int(k) >= len(names) {
		return "kind " + strconv.Itoa(int(k))
	}
	return names[k]
}

// Event is one event. Which fields are set depends on its kind.
type Event struct {
	Kind Kind
	// Image is what an image is called, with its transport.
	Image string
	// Blob is the digest of a layer or a config. A layer that is made has none before it
	// is complete: there, Name is that of its content.
	Blob digest.Digest
	Name string
	// Size is that of a blob, or of all, in bytes; -1 if it is not known.
	Size int64
	// Bytes is how many more have arrived.
	Bytes int
	// Offset is where reading goes on, in bytes.
	Offset int64
	// Blobs and Present are numbers of blobs.
	Blobs, Present int
	// Host is that of a registry.
	Host string
	Err  error
}
