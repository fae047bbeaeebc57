package tarfile

import (
	"archive/tar"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// segment is a part of a sparse file that is stored. Bytes outside of all segments
// are zeros.
type segment struct {
	offset, length int64 // in the file
	stored         int64 // where it is in the archive
}

func (s segment) end() int64 { return s.offset + s.length }

// sparseFile is a file that is stored without its holes.
type sparseFile struct {
	r        io.ReaderAt
	size     int64
	segments []segment // in order, none empty
}

// ReadAt implements io.ReaderAt.
func (s *sparseFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading at offset %d", off)
	}
	length := int(min(int64(len(p)), max(s.size-off, 0)))
	next := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].end() > off })
	for done := 0; done < length; {
		at, rest := off+int64(done), p[done:length]
		if next == len(s.segments) || s.segments[next].offset > at {
			if next < len(s.segments) {
				rest = rest[:min(int64(len(rest)), s.segments[next].offset-at)]
			}
			clear(rest)
			done += len(rest)
			continue
		}
		data := s.segments[next]
		rest = rest[:min(int64(len(rest)), data.end()-at)]
		n, err := s.r.ReadAt(rest, data.stored+at-data.offset)
		done += n
		if n < len(rest) {
			return done, eof(err)
		}
		next++ // Or the loop ends.
	}
	if length < len(p) {
		return length, io.EOF
	}
	return length, nil
}

// isSparse reports whether an entry is stored without its holes, in one of the four
// ways that GNU tar has had. archive/tar takes one without a map for a file like any
// other.
func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	return hdr.PAXRecords["GNU.sparse.major"] != "" || hdr.PAXRecords["GNU.sparse.minor"] != "" || hdr.PAXRecords["GNU.sparse.map"] != ""
}

// addSparse notes where the parts of a sparse file are. Its headers, with its map,
// begin at start, and its stored bytes at e.offset. It returns how many stored bytes
// there are. archive/tar has read the map too, but gives no access to it.
func (x *Index) addSparse(e *record, hdr *tar.Header, start, size int64) (stored int64, err error) {
	head, err := x.sparseHead(hdr, start, e.offset)
	if err != nil {
		return 0, err
	}
	var pairs []int64
	stored = head.stored
	major, minor := hdr.PAXRecords["GNU.sparse.major"], hdr.PAXRecords["GNU.sparse.minor"]
	switch {
	case hdr.Typeflag == tar.TypeGNUSparse:
		pairs, err = gnuSparseMap(head.blocks)
	case major == "1" && minor == "0":
		stored -= int64(len(head.blocks) - blockSize) // The map counts as content.
		pairs, err = paxSparseMap(head.blocks[blockSize:])
	case major == "" && minor == "", major == "0" && (minor == "0" || minor == "1"):
		pairs, err = sparseNumbers(strings.Split(hdr.PAXRecords["GNU.sparse.map"], ","))
	default:
		e.kind = tar.TypeGNUSparse // Lookup reports it.
		return stored, nil
	}
	name := trim(hdr.Name)
	if err != nil || stored < 0 || hdr.Size < 0 {
		return 0, damaged("entry %q has no valid sparse map", name)
	}
	if stored > size-e.offset {
		return 0, damaged("cut short: entry %q has %d bytes, but only %d are there", name, stored, size-e.offset)
	}
	e.kind, e.size = tar.TypeReg, hdr.Size
	file := &sparseFile{r: x.r, size: hdr.Size}
	if file.segments, err = segments(pairs, e.offset, stored, hdr.Size); err != nil {
		return 0, fmt.Errorf("entry %q: %w", name, err)
	}
	if x.segments += len(file.segments); x.segments > maxSegments {
		return 0, fmt.Errorf("%w: sparse files in more than %d pieces", errdef.ErrLimit, maxSegments)
	}
	if hdr.Size-stored > maxHoles-x.holes {
		return 0, fmt.Errorf("%w: entry %q has %d bytes and stores %d; at most %d may be missing of all sparse files",
			errdef.ErrLimit, name, hdr.Size, stored, int64(maxHoles))
	}
	x.holes += hdr.Size - stored
	x.sparse[e.offset] = file
	return stored, nil
}

// segments checks a sparse map: its segments must be in order, within the file, and
// all stored at offset, in stored bytes.
func segments(pairs []int64, offset, stored, size int64) ([]segment, error) {
	all := make([]segment, 0, len(pairs)/2)
	end, rest := int64(0), stored
	for i := 0; i+1 < len(pairs); i += 2 {
		s := segment{offset: pairs[i], length: pairs[i+1], stored: offset + stored - rest}
		if s.offset < end || s.length < 0 || s.length > rest || s.offset > size-s.length {
			return nil, damaged("the parts of a sparse file overlap, or are outside of it")
		}
		end = s.end()
		rest -= s.length
		if s.length > 0 {
			all = append(all, s)
		}
	}
	if rest != 0 {
		return nil, damaged("%d bytes of a sparse file belong nowhere", rest)
	}
	return all, nil
}

// sparseHead is the header of a sparse file without the headers before it.
type sparseHead struct {
	blocks []byte // header and, if it has blocks of its own, map
	stored int64  // size of the bytes after the header, as it says
}

// sparseHead reads the header of a sparse file again. All its headers are between
// start and end, at most maxHeaderLen bytes, and archive/tar has accepted them.
func (x *Index) sparseHead(hdr *tar.Header, start, end int64) (sparseHead, error) {
	blocks := make([]byte, end-start)
	if _, err := x.r.ReadAt(blocks, start); err != nil && err != io.EOF {
		return sparseHead{}, fmt.Errorf("reading the tar header at offset %d: %w", start, err)
	}
	const sizeField, typeflag = 124, 156
	for len(blocks) >= blockSize {
		stored, ok := parseNumber(blocks[sizeField : sizeField+12])
		switch {
		case !ok:
			return sparseHead{}, damaged("damaged header before offset %d", end)
		case !strings.ContainsRune("xLK", rune(blocks[typeflag])):
			if size, ok := hdr.PAXRecords["size"]; ok {
				var err error
				if stored, err = strconv.ParseInt(size, 10, 64); err != nil || stored < 0 {
					return sparseHead{}, damaged("damaged header before offset %d", end)
				}
			}
			return sparseHead{blocks: blocks, stored: stored}, nil
		case stored > int64(len(blocks)):
			return sparseHead{}, damaged("damaged header before offset %d", end)
		}
		blocks = blocks[min(spanOf(blockSize, stored), int64(len(blocks))):]
	}
	return sparseHead{}, damaged("damaged header before offset %d", end)
}

// gnuSparseMap returns the offsets and lengths in a header of type 'S'. Each of its
// blocks says whether another one follows.
func gnuSparseMap(blocks []byte) ([]int64, error) {
	const field, pair = 12, 24
	entries, extended := blocks[386:482], blocks[482] != 0
	var pairs []int64
	for {
		for ; len(entries) >= pair && entries[0] != 0; entries = entries[pair:] {
			offset, ok1 := parseNumber(entries[:field])
			length, ok2 := parseNumber(entries[field:pair])
			if !ok1 || !ok2 {
				return nil, tar.ErrHeader
			}
			pairs = append(pairs, offset, length)
		}
		if !extended {
			return pairs, nil
		}
		if blocks = blocks[blockSize:]; len(blocks) < blockSize {
			return nil, tar.ErrHeader
		}
		entries, extended = blocks[:504], blocks[504] != 0
	}
}

// paxSparseMap returns the offsets and lengths in a map that precedes the content:
// lines of decimal numbers, first that of the pairs, padded to a block.
func paxSparseMap(data []byte) ([]int64, error) {
	first, rest, ok := strings.Cut(string(data), "\n")
	count, err := strconv.ParseInt(first, 10, 32)
	if !ok || err != nil || count < 0 {
		return nil, tar.ErrHeader
	}
	lines := strings.SplitN(rest, "\n", int(min(2*count+1, int64(len(rest)+1))))
	if int64(len(lines)) != 2*count+1 {
		return nil, tar.ErrHeader
	}
	return sparseNumbers(lines[:2*count])
}

func sparseNumbers(decimals []string) ([]int64, error) {
	if len(decimals) == 1 && decimals[0] == "" {
		return nil, nil
	}
	if len(decimals)%2 != 0 {
		return nil, tar.ErrHeader
	}
	numbers := make([]int64, len(decimals))
	for i, d := range decimals {
		var err error
		if numbers[i], err = strconv.ParseInt(d, 10, 64); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// parseNumber reads a field of a header: octal digits, or binary if its first bit is
// set. ok is false for a negative one, and for one that does not fit.
func parseNumber(field []byte) (n int64, ok bool) {
	if field[0]&0x80 == 0 {
		digits := strings.Trim(string(field), " \x00")
		if digits == "" {
			return 0, true
		}
		u, err := strconv.ParseUint(digits, 8, 63)
		return int64(u), err == nil
	}
	for i, b := range field {
		if i == 0 {
			b &= 0x7f
		}
		if n > 1<<55-1 {
			return 0, false
		}
		n = n<<8 | int64(b)
	}
	return n, true
}
