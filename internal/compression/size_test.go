package compression_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/compression"
)

func TestUnpacked(t *testing.T) {
	data := bytes.Repeat([]byte("what is in a layer "), 5000)
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	framed := w.EncodeAll(data, nil)
	var streamed bytes.Buffer
	w.Reset(&streamed)
	for range 100 {
		_, err = w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	le := func(size uint32) []byte { return binary.LittleEndian.AppendUint32(nil, size) }
	for name, c := range map[string]struct {
		algorithm  compression.Algorithm
		start, end []byte
		size, want int64
		ok         bool
	}{
		"gzip":                     {compression.Gzip, nil, le(3 << 20), 1 << 20, 3 << 20, true},
		"gzip that gained nothing": {compression.Gzip, nil, le(1<<20 - 200), 1 << 20, 1<<20 - 200, true},
		"empty last member":        {compression.Gzip, nil, le(0), 1 << 20, 0, false},
		"small last member":        {compression.Gzip, nil, le(5000), 1 << 20, 0, false},
		"much for little":          {compression.Gzip, nil, le(1<<32 - 1), 1 << 20, 0, false},
		"more than 4 GiB":          {compression.Gzip, nil, le(100), 1 << 31, 0, false},
		"no end":                   {compression.Gzip, nil, nil, 1 << 20, 0, false},
		"zstd":                     {compression.Zstd, framed, nil, 1 << 15, int64(len(data)), true},
		"zstd written as a stream": {compression.Zstd, streamed.Bytes()[:100], nil, 1 << 15, 0, false},
		"zstd, first of many":      {compression.Zstd, framed, nil, 1 << 30, 0, false},
		"a frame that is skipped":  {compression.Zstd, []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), nil, 1 << 15, 0, false},
		"damaged":                  {compression.Zstd, []byte("\x28\xb5\x2f\xfd"), nil, 1 << 15, 0, false},
		"what does not say":        {compression.XZ, framed, le(1 << 20), 1 << 20, 0, false},
		"what is not compressed":   {compression.None, framed, le(1 << 20), 1 << 20, 0, false},
	} {
		got, ok := c.algorithm.Unpacked(c.start, c.end, c.size)
		assert.Equal(t, c.ok, ok, name)
		if ok {
			assert.Equal(t, c.want, got, name)
		}
	}
	assert.Equal(t, 4, compression.Gzip.SizeAtEnd())
	assert.Zero(t, compression.Zstd.SizeAtEnd())
}
