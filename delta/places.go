package delta

// places converts positions of a text to places, their numbers in the tables of a search. A
// place has 32 bits, so that the tables stay in the processor's cache. Place 0 moves on now and
// then, so that texts may be of any size.
type places struct {
	zero int64 // the position of place 0
	most int32 // bound of places; 0 means mostPlaces
}

const (
	// nowhere is a place that no match reaches.
	nowhere = -1 << 29
	// mostPlaces is the largest place before renew moves place 0.
	mostPlaces = 1 << 29
)

func (p *places) place(pos int64) int32 { return int32(pos - p.zero) }

// renew moves place 0 to about a position, if that is too far ahead, and renumbers the places in
// tables.
func (p *places) renew(pos int64, tables ...[]int32) {
	most := p.most
	if most == 0 {
		most = mostPlaces
	}
	if pos-p.zero <= int64(most) {
		return
	}
	by := p.place(pos) &^ (historySize - 1) // Some tables are indexed by the place modulo historySize.
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
