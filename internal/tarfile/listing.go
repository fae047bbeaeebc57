package tarfile

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// ListingName is the entry that lists all entries before it, so that a reader need not go
// through their headers. It is the last one of an archive, and a hint: see NewIndex.
const ListingName = ".docker-archive-entries"

// smalls is about how many entries a change adds.
const smalls = 16

// listingMin is the smallest number of entries for which an archive has a listing. The
// headers of fewer are read quickly, and most archives stay as they are without it.
const listingMin = 32

// Kinds of entries in a listing.
const (
	listedFile = iota
	listedDirectory
	listedBlob // A file that is called packedPrefix and 64 hexadecimal digits.
)

const packedPrefix = "blobs/sha256/"

// Listing collects the entries of an archive that is written, in their order. Its methods
// may be called concurrently; those of a nil Listing do nothing.
type Listing struct {
	mu      sync.Mutex
	entries []listed
	// odd is set if there are entries that a listing does not know: links, and entries with
	// headers of more than one block.
	odd bool
}

type listed struct {
	name string
	size int64
	dir  bool
}

// Add notes the next entry of an archive that is planned: a file of size bytes, or a directory if its
// name ends with a slash.
func (l *Listing) Add(name string, size int64) {
	head, err := HeaderSpan(name)
	if err != nil || size < 0 {
		head = 0 // There is no such entry, or nobody knows where the next one is.
	}
	l.add(name, headerFor(name).Typeflag, head, size)
}

// add notes the next entry, whose headers take head bytes.
func (l *Listing) add(name string, kind byte, head, size int64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(name, kind, head, size)
}

func (l *Listing) addLocked(name string, kind byte, head, size int64) {
	cleaned, err := cleanUnlessPacked(name)
	if err != nil || cleaned == "." || head != blockSize || kind != tar.TypeReg && kind != tar.TypeDir {
		l.odd = true
		return
	}
	l.entries = append(l.entries, listed{name: cleaned, size: size, dir: kind == tar.TypeDir})
}

// addEntry notes an entry that was a blob.
func (l *Listing) addEntry(e *Entry) {
	l.add(e.name, tar.TypeReg, e.span-e.size-padding(e.size), e.size)
}

// addSmall notes small entries.
func (l *Listing) addSmall(small Smalls) error {
	if l == nil {
		return nil
	}
	for s, err := range small.All() {
		if err != nil {
			return err
		}
		head, err := headerLen(s.Header, int64(len(s.Data)))
		if err != nil {
			return err
		}
		l.add(s.Header.Name, s.Header.Typeflag, head, int64(len(s.Data)))
	}
	return nil
}

// Listing returns the entries that the archive has when it goes on at offset from with its
// tail superseded under a number.
func (x *Index) Listing(t Tail, number int, from int64) *Listing {
	l := &Listing{entries: make([]listed, 0, len(x.entries)+smalls)}
	end := int64(0)
	for _, e := range x.entries {
		if e.start >= t.Start {
			break
		}
		if e.start != end || x.linked(e) { // Entries that are nowhere in x.
			l.odd = true
		}
		l.add(e.name, e.kind, e.offset-e.start, e.size)
		end = e.offset + e.size + padding(e.size)
	}
	l.odd = l.odd || end != t.Start
	l.add(supersededName(number), tar.TypeReg, blockSize, from-t.Start-blockSize)
	return l
}

// Entry returns the entry that lists the others, after last, which are the entries that will
// be sealed before it. notes are for readers of the images, which get them by Index.Notes.
// ok is false if the archive is to have no such entry.
func (l *Listing) Entry(last []Small, notes []byte) (entry Small, ok bool, err error) {
	if l == nil {
		return Small{}, false, nil
	}
	l.mu.Lock()
	all := &Listing{entries: slices.Clone(l.entries), odd: l.odd}
	l.mu.Unlock()
	if err := all.addSmall(List(last...)); err != nil {
		return Small{}, false, err
	}
	if all.odd || len(all.entries) < listingMin {
		return Small{}, false, nil
	}
	return Small{
		Header: &tar.Header{Typeflag: tar.TypeReg, Name: ListingName, Mode: 0o444},
		Data:   all.encode(notes),
	}, true, nil
}

// cleanUnlessPacked is clean, but does not look twice at the names of most entries.
func cleanUnlessPacked(name string) (string, error) {
	if isPacked(name) {
		return name, nil
	}
	return clean(name)
}

// isPacked reports whether a name is that of a blob, which is listed by its hash. Such a name is
// a clean one.
func isPacked(name string) bool {
	digits, ok := strings.CutPrefix(name, packedPrefix)
	return ok && len(digits) == hex.EncodedLen(sha256.Size) && strings.Trim(digits, "0123456789abcdef") == ""
}

// encode returns the content of the entry: the listing, zeros, and a block with the length of
// the listing. This is the last block before the end-of-archive marker, so that it is found
// without anything else.
func (l *Listing) encode(notes []byte) []byte {
	const usual = 40 // bytes an entry
	data := binary.AppendUvarint(make([]byte, 0, usual*len(l.entries)+len(notes)+2*blockSize), uint64(len(l.entries)))
	for _, e := range l.entries {
		switch {
		case e.dir:
			data = append(data, listedDirectory)
			data = appendString(data, e.name)
		case isPacked(e.name):
			data = append(data, listedBlob)
			data, _ = hex.AppendDecode(data, []byte(e.name[len(packedPrefix):])) // It consists of digits.
			data = binary.AppendUvarint(data, uint64(e.size))
		default:
			data = append(data, listedFile)
			data = appendString(data, e.name)
			data = binary.AppendUvarint(data, uint64(e.size))
		}
	}
	data = append(data, notes...)
	footer := make([]byte, blockSize)
	copy(footer, fmt.Sprintf(listingFooter+"\n", len(data), sha256.Sum256(data)))
	data = append(data, zeros[:padding(int64(len(data)))]...)
	return append(data, footer...)
}

// listingFooter is the last block of a listing: the length of the listing without its padding,
// and its SHA-256.
const listingFooter = "docker-archive entries 1 %d %x"

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// parseFooter returns how long a listing is, and its SHA-256.
func parseFooter(block []byte) (length int64, sum []byte, ok bool) {
	line, _, _ := bytes.Cut(block, []byte{0})
	n, err := fmt.Sscanf(string(line), listingFooter+"\n", &length, &sum)
	return length, sum, err == nil && n == 2 && length > 0 && length <= maxListing && len(sum) == sha256.Size
}

// maxListing is how long a listing may be: one of the most entries that an index takes.
const maxListing = maxNameBytes + 16*maxEntries

// decodeListing undoes encode, without the footer.
func decodeListing(data []byte) (entries []listed, notes []byte, ok bool) {
	d := &listingReader{data: data}
	count := d.number()
	if count > maxEntries {
		return nil, nil, false
	}
	nameBytes := 0
	entries = make([]listed, 0, min(count, int64(len(data))/3+2)) // No entry takes less, but for that of this listing.
	for range count {
		var e listed
		switch kind := d.take(1); {
		case d.bad:
		case kind[0] == listedDirectory:
			e.name, e.dir = string(d.take(d.number())), true
		case kind[0] == listedBlob:
			var name [len(packedPrefix) + 2*sha256.Size]byte
			hex.Encode(name[copy(name[:], packedPrefix):], d.take(sha256.Size))
			e.name = string(name[:])
			e.size = d.number()
		case kind[0] == listedFile:
			e.name = string(d.take(d.number()))
			e.size = d.number()
		default:
			d.bad = true
		}
		cleaned, err := cleanUnlessPacked(e.name)
		if nameBytes += len(e.name); d.bad || err != nil || cleaned != e.name || cleaned == "." || e.size > maxSize || nameBytes > maxNameBytes {
			return nil, nil, false
		}
		entries = append(entries, e)
	}
	return entries, d.data, !d.bad
}

// listingReader takes a listing apart. It notes if something is missing.
type listingReader struct {
	data []byte
	bad  bool
}

func (d *listingReader) number() int64 {
	n, length := binary.Uvarint(d.data)
	if length <= 0 || n > maxSize {
		d.data, d.bad = nil, true
		return 0
	}
	d.data = d.data[length:]
	return int64(n)
}

func (d *listingReader) take(n int64) []byte {
	if n > int64(len(d.data)) {
		d.data, d.bad = nil, true
		return nil
	}
	taken := d.data[:n]
	d.data = d.data[n:]
	return taken
}
