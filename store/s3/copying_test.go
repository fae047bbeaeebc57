package s3

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/storetest"
)

const mib = 1 << 20

// piece is n bytes of a new version: those of the old one at off, which the writer may know or not, or others.
type piece struct {
	kind   byte // k: known to be in the old version; s: the same as there; f: fresh
	off, n int
}

// rewrite replaces an object by pieces. It returns the object that this should make, and how many bytes were sent.
func rewrite(t *testing.T, s *storetest.Server, old []byte, pieces ...piece) (want []byte, sent int) {
	t.Helper()
	ctx := output.WithRemote(t.Context(), func(o *output.RemoteOptions) { o.Unconditional = true }) // Probes would count.
	o, err := output.Replace(ctx, path, false)
	require.NoError(t, err)
	r, err := open(t.Context(), path, input.Access{})
	require.NoError(t, err)
	defer r.Close()
	before := s.Received()
	w := o.Writer().(interface {
		WriteFrom(p []byte, file io.ReaderAt, off int64) (int, error)
	})
	for i, p := range pieces {
		data := content(uint64(100+i), p.n)
		if p.kind != 'f' {
			data = old[p.off:][:p.n]
		}
		want = append(want, data...)
		for at := 0; at < len(data); {
			chunk := data[at:][:min(len(data)-at, 1+rand.IntN(2*mib))]
			var n int
			if p.kind == 'k' {
				n, err = w.WriteFrom(chunk, r, int64(p.off+at))
			} else {
				n, err = o.Writer().Write(chunk)
			}
			require.NoError(t, err)
			require.Equal(t, len(chunk), n)
			at += n
		}
	}
	require.NoError(t, o.Commit(t.Context()))
	return want, int(s.Received() - before)
}

// Runs of 5 MiB and more are copied in the store, with headers and padding between them.
func TestCopying(t *testing.T) {
	for name, test := range map[string]struct {
		pieces []piece
		sent   int // at most
	}{
		"all":                    {[]piece{{'k', 0, 40 * mib}}, 0},
		"unknown":                {[]piece{{'s', 0, 40 * mib}}, 40 * mib},
		"none":                   {[]piece{{'f', 0, 20 * mib}}, 20 * mib},
		"between headers":        {[]piece{{'s', 0, 1000}, {'k', 1000, 9 * mib}, {'s', 9*mib + 1000, 2000}, {'k', 9*mib + 3000, 11 * mib}, {'f', 0, 5000}}, 5000},
		"with a hole":            {[]piece{{'s', 0, 512}, {'k', 512, 9 * mib}, {'s', 9*mib + 512, 300}, {'s', 20*mib - 512, 512}, {'k', 20 * mib, 9 * mib}, {'f', 0, 100}}, 100},
		"fresh header":           {[]piece{{'k', 0, 9 * mib}, {'f', 0, 512}, {'k', 9*mib + 512, 12 * mib}}, 5 * mib},
		"small runs":             {[]piece{{'k', 0, 4 * mib}, {'k', 10 * mib, 4 * mib}, {'k', 20 * mib, 20 * mib}}, 10 * mib},
		"small run in between":   {[]piece{{'k', 0, 8 * mib}, {'k', 10 * mib, mib}, {'k', 20 * mib, 20 * mib}}, 5 * mib},
		"small run at the end":   {[]piece{{'k', 0, 20 * mib}, {'k', 30 * mib, mib}}, mib},
		"fresh, and just enough": {[]piece{{'f', 0, 512}, {'k', 0, 10*mib - 512}}, 5 * mib},
		"fresh, and too little":  {[]piece{{'f', 0, 512}, {'k', 0, 10*mib - 513}}, 10 * mib},
		"a part and a bit":       {[]piece{{'f', 0, 8*mib + 1}, {'k', 0, 20 * mib}}, 13*mib + 1},
		"backwards":              {[]piece{{'k', 20 * mib, 6 * mib}, {'k', 10 * mib, 6 * mib}, {'k', 0, 6 * mib}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, old := newStore(t), content(1, 40*mib)
			s.Put("dir/x.tar", old)
			want, sent := rewrite(t, s, old, test.pieces...)
			assert.True(t, bytes.Equal(want, s.Object("dir/x.tar")))
			assert.LessOrEqual(t, sent, test.sent)
			assert.Empty(t, s.Uploads())
		})
	}
}

// Any sequence of runs and fresh bytes makes the right object.
func TestCopyingAnything(t *testing.T) {
	copiedPart = 6 * mib
	t.Cleanup(func() { copiedPart = 128 * mib })
	s, old := newStore(t), content(1, 40*mib)
	for seed := range uint64(25) {
		random := rand.New(rand.NewPCG(seed, 7))
		var pieces []piece
		end := 0
		for range 1 + random.IntN(9) {
			p := piece{kind: "kksf"[random.IntN(4)], n: 1 + random.IntN(1<<(3+random.IntN(22)))}
			if p.off = end; random.IntN(2) == 0 {
				p.off = random.IntN(len(old))
			}
			if p.n = min(p.n, len(old)-p.off); p.n <= 0 {
				continue
			}
			if p.kind != 'f' {
				end = p.off + p.n
			}
			pieces = append(pieces, p)
		}
		if len(pieces) == 0 {
			continue
		}
		s.Put("dir/x.tar", old)
		want, _ := rewrite(t, s, old, pieces...)
		require.True(t, bytes.Equal(want, s.Object("dir/x.tar")), "seed %d: %v", seed, pieces)
	}
}
