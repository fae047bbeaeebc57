package tarfile

import (
	"archive/tar"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Tail is the end of an archive: the documents that are written anew when the archive
// changes. An archive changes in place when new entries, and a new tail, have been
// written behind it, and the header of the old tail's first entry is then overwritten
// by one of an entry that holds the rest of the old tail: see Supersede.
type Tail struct {
	Start int64    // offset of the first document's header, a multiple of 512
	End   int64    // where the marker ends, a multiple of 512
	Names []string // of the entries in it, in their order; directories with a slash
}

// ErrNoTail is returned, wrapped, by Tail for an archive that cannot change in
// place.
var ErrNoTail = errors.New("its documents are not at its end")

// Tail returns the tail of an archive whose documents have these names. All changing
// documents of the archive must be in it; others may be there too.
func (x *Index) Tail(changing []string, others ...string) (Tail, error) {
	documents := slices.Concat(changing, others)
	if !x.terminated {
		return Tail{}, damaged("it does not end with an end-of-archive marker: it may have been cut short")
	}
	t := Tail{Start: x.end, End: x.end + 2*blockSize}
	var names []string // from the last on
	for _, e := range slices.Backward(x.entries) {
		document := e.kind == tar.TypeReg && slices.Contains(documents, e.name) && !x.linked(e)
		if !document && e.kind != tar.TypeDir {
			break
		}
		if document {
			names = append(names, e.name)
			t.Start, t.Names = e.start, slices.Clone(names)
		} else {
			names = append(names, e.name+"/")
		}
	}
	slices.Reverse(t.Names)
	for _, name := range changing {
		if i, ok := x.byName[name]; ok && x.entries[i].start < t.Start {
			return Tail{}, fmt.Errorf("%s: %w", name, ErrNoTail)
		}
	}
	if len(t.Names) == 0 {
		return Tail{}, ErrNoTail
	}
	return t, nil
}

// linked reports whether an entry is a hard link to the content of another one.
func (x *Index) linked(e record) bool { return e.offset < e.start || x.sparse[e.offset] != nil }

// superseded is the directory of the entries that hold old tails.
const superseded = ".superseded/"

// Superseded returns a number for one more entry that holds an old tail: the number of
// existing ones, unless its name is taken. It fails if such an entry could not be
// unpacked, because something else has the name of its directory.
func (x *Index) Superseded() (int, error) {
	if i, ok := x.byName[strings.TrimSuffix(superseded, "/")]; ok && x.entries[i].kind != tar.TypeDir {
		return 0, fmt.Errorf("%s is there, and not a directory: the archive cannot be changed in place", strings.TrimSuffix(superseded, "/"))
	}
	n := 0
	for i, e := range x.entries { // As Names has it, without looking up all others.
		if e.kind != tar.TypeDir && strings.HasPrefix(e.name, superseded) && x.byName[e.name] == int32(i) {
			n++
		}
	}
	for x.Has(supersededName(n)) {
		n++
	}
	return n, nil
}

func supersededName(number int) string { return fmt.Sprintf("%s%d", superseded, number) }

// Supersede returns the block that makes the tail an entry that nobody looks at when
// it is written at the tail's start. The archive then goes on at offset from. number
// tells the entry from the archive's others.
func (t Tail) Supersede(number int, from int64) ([]byte, error) {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: supersededName(number), Mode: 0o444}
	block, err := encodeHeader(header, from-t.Start-blockSize)
	if err == nil && len(block) != blockSize {
		err = fmt.Errorf("internal error: a header of %d bytes", len(block))
	}
	return block, err
}
