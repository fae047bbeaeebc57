package browsing

import (
	"github.com/dockerarchive/dockerarchive/internal/files"
)

// picture is a directory as a map of tiles: the larger the tile, the more bytes are in it.
// Lengths are CSS pixels.
type picture struct {
	Width, Height float64
	Tiles         []tile
}

// tile is an entry of the directory.
type tile struct {
	X, Y, W, H float64
	Name       string // as it fits
	Title      string // in full
	URL        string // "" for a tile of several entries
	Size       int64
	Color      int // of 8
	Label      bool
	SizeLabel  bool
}

// pictures returns the same directory drawn for wide and for narrow screens. entries are
// sorted, the largest first.
func pictures(e *entry, layer int, entries []*files.Entry, size func(*files.Entry) int64) (wide, narrow picture) {
	var tiles []tile
	var rest tile
	several := 0
	for i, f := range entries {
		n := size(f)
		if n == 0 {
			break
		}
		if i >= maxTiles {
			several++
			rest.Size += n
			continue
		}
		name := text(f.Name())
		if f.IsDir() {
			name += "/"
		}
		tiles = append(tiles, tile{Title: name, URL: e.filesURL(f.Path, layer), Size: n, Color: i % 8})
	}
	if several > 0 {
		rest.Title = count(several, "other", "others")
		tiles = append(tiles, rest)
	}
	return draw(tiles, 1160, 280), draw(tiles, 360, 400)
}

// draw places tiles in a rectangle, in rows that keep them near to squares ("Squarified
// Treemaps", Bruls, Huizing and van Wijk, 2000).
func draw(tiles []tile, width, height float64) picture {
	p := picture{Width: width, Height: height}
	sum := 0.0
	for _, t := range tiles {
		sum += float64(t.Size)
	}
	x, y, w, h := 0.0, 0.0, width, height
	scale := width * height / max(sum, 1)
	for len(tiles) > 0 {
		side := min(w, h)
		n, area := 1, float64(tiles[0].Size)*scale
		for n < len(tiles) {
			more := area + float64(tiles[n].Size)*scale
			if worst(tiles[0].Size, tiles[n].Size, scale, more, side) > worst(tiles[0].Size, tiles[n-1].Size, scale, area, side) {
				break
			}
			area = more
			n++
		}
		thick := area / max(side, 1e-9)
		along := 0.0
		for _, t := range tiles[:n] {
			length := float64(t.Size) * scale / max(thick, 1e-9)
			if w >= h {
				t.X, t.Y, t.W, t.H = x, y+along, thick, length
			} else {
				t.X, t.Y, t.W, t.H = x+along, y, length, thick
			}
			along += length
			p.Tiles = append(p.Tiles, t.labelled())
		}
		if w >= h {
			x, w = x+thick, max(w-thick, 0)
		} else {
			y, h = y+thick, max(h-thick, 0)
		}
		tiles = tiles[n:]
	}
	return p
}

// worst is how far from a square the tiles of a row are: the first is its largest, the last
// its smallest.
func worst(largest, smallest int64, scale, area, side float64) float64 {
	big, small := float64(largest)*scale, float64(smallest)*scale
	if area <= 0 || small <= 0 {
		return 1e18
	}
	return max(side*side*big/(area*area), area*area/(side*side*small))
}

// labelled leaves a gap around a tile and has it named if there is space.
func (t tile) labelled() tile {
	const gap, letter, line, margin = 1.0, 7.4, 17, 8
	x, y := min(gap, t.W/2), min(gap, t.H/2)
	t.X, t.Y, t.W, t.H = t.X+x, t.Y+y, t.W-2*x, t.H-2*y
	fits := int((t.W - 2*margin) / letter)
	name := []rune(t.Title)
	t.Label = fits >= min(len(name), 4) && t.H >= line+margin
	t.SizeLabel = t.Label && t.H >= 2*line+margin && fits >= 7
	if len(name) > fits && fits > 0 {
		name = append(name[:fits-1:fits-1], '…')
	}
	t.Name = string(name)
	return t
}
