package delta

// places are the numbers of positions of a text in the tables of a search: 32 bits each,
// for the tables to stay in the processor's cache, and counted from a position that moves
// on now and then, so that texts may be of any size.
type places struct {
	zero int64 // the position of place 0
	most int32 // 0: mostPlaces
}

const (
	// nowhere is a place that no match reaches.
	nowhere = -1 << 29
	// mostPlaces is the largest place before others are counted from anew.
	mostPlaces = 1 << 29
)

func (p *places) place(pos int64) int32 { return int32(pos - p.zero) }

// renew counts places from about a position, if those before it are too many, and renumbers
// those in tables.
func (p *places) renew(pos int64, tables ...[]int32) {
	most := p.most
	if most == 0 {
		most = mostPlaces
	}
	if pos-p.zero <= int64(most) {
		return
	}
	by := p.place(pos) &^ (historySize - 1) // Some tables go by the place modulo this.
	p.zero += int64(by)
	for _, t := range tables {
		for i, place := range t {
			t[i] = max(place-by, nowhere)
		}
	}
}

// forget empties a table.
func forget(table []int32) {
	for i := range table {
		table[i] = nowhere
	}
}
