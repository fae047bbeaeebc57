package inflate

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// randomCode makes the lengths of a complete code of n symbols, by splitting
// the longest code there is, or any other.
func randomCode(rng *rand.Rand, n int, skew int) []uint8 {
	l := []uint8{1, 1}
	for len(l) < n {
		i := len(l) - 1
		if rng.IntN(100) >= skew {
			i = rng.IntN(len(l))
		}
		if l[i] == maxCode {
			i = rng.IntN(len(l))
			if l[i] == maxCode {
				continue
			}
		}
		l[i]++
		l = append(l, l[i])
	}
	rng.Shuffle(n, func(i, j int) { l[i], l[j] = l[j], l[i] })
	return l
}

// Each code of a table is found with any bits behind it, and the table with
// its second-level tables fits in its array.
func TestBuildTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		lengths := randomCode(rng, 2+rng.IntN(maxLitCodes-1), rng.IntN(101))
		d := new(decoder)
		checkTable(t, d.lit[:], litBits, lengths, litEntries[:], rng)
		lengths = randomCode(rng, 2+rng.IntN(maxDistCodes-1), rng.IntN(101))
		checkTable(t, d.dist[:], distBits, lengths, distEntries[:], rng)
	}
}

func checkTable(t *testing.T, table []uint32, index uint, lengths []uint8, entries []uint32, rng *rand.Rand) {
	t.Helper()
	_, ok := buildTable(table, index, lengths, entries)
	require.True(t, ok)
	code := uint(0)
	for n := uint(1); n <= maxCode; n++ {
		for sym, l := range lengths {
			if uint(l) != n {
				continue
			}
			bits := reverse(code, n) | uint(rng.Uint32())<<n
			e, rest := table[bits&(1<<index-1)], n
			if n > index {
				require.NotZero(t, e&entryTable)
				require.EqualValues(t, index, e&63)
				e, rest = table[uint(e>>16)+bits>>index&(1<<(e>>8&15)-1)], n-index
			}
			require.Equal(t, entries[sym]+uint32(rest|rest<<8), e)
			code++
		}
		code <<= 1
	}
}

// A code with one length changed is no longer complete.
func TestBuildTableRefuses(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	table := make([]uint32, litSize)
	for range 1000 {
		lengths := randomCode(rng, 3+rng.IntN(maxLitCodes-2), rng.IntN(101))
		i := rng.IntN(len(lengths))
		was := lengths[i]
		for lengths[i] == was {
			lengths[i] = uint8(rng.IntN(maxCode + 1))
		}
		_, ok := buildTable(table, litBits, lengths, litEntries[:])
		require.False(t, ok)
	}
}
