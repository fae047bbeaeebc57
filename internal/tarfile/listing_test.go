package tarfile

import (
	"archive/tar"
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Archives with entries that a listing does not know have none.
func TestListingOfOddEntries(t *testing.T) {
	for name, odd := range map[string]*tar.Header{
		"a link":        {Typeflag: tar.TypeSymlink, Name: "link", Linkname: "0"},
		"a long header": {Typeflag: tar.TypeReg, Name: string(bytes.Repeat([]byte("n"), 300))},
	} {
		l := &Listing{}
		for n := range listingMin {
			l.Add(fmt.Sprint(n), 1)
		}
		_, ok, err := l.Entry(nil, nil)
		require.NoError(t, err)
		require.True(t, ok)
		_, ok, err = l.Entry([]Small{{Header: odd}}, nil)
		require.NoError(t, err)
		assert.False(t, ok, name)
	}
}

// For any input, reading a listing ends, takes no more memory than the listing
// is long, and the result can be written again.
func FuzzListing(f *testing.F) {
	l := &Listing{}
	l.Add("blobs/", 0)
	l.Add(packedPrefix+"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", 5)
	l.Add("index.json", 7)
	encoded := l.encode([]byte("notes"))
	length, _, ok := parseFooter(encoded[len(encoded)-blockSize:])
	require.True(f, ok)
	f.Add(encoded[:length])
	f.Add([]byte{3, listedFile, 200, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, notes, ok := decodeListing(data)
		if !ok {
			return
		}
		again := (&Listing{entries: entries}).encode(notes)
		length, _, ok := parseFooter(again[len(again)-blockSize:])
		require.True(t, ok)
		same, sameNotes, ok := decodeListing(again[:length])
		require.True(t, ok)
		assert.Equal(t, entries, same)
		assert.Equal(t, notes, sameNotes)
	})
}
