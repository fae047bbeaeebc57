package tarfile

// Limits on an archive for a reader. An archive that needs more is refused:
// every limit stands well above the needs of any tool's archives.
const (
	// maxEntries bounds the memory that an index needs. 3,000 images of 20
	// layers, in the layout with the most entries (docker save before version
	// 25: four to a layer), stay below it.
	maxEntries = 1 << 18

	// maxNameLen is PATH_MAX of Linux: a longer name could not be extracted.
	maxNameLen = 4096

	// maxNameBytes bounds the names and link targets of all entries together,
	// which maxEntries of the longest names would take to two gigabytes.
	maxNameBytes = 32 << 20

	// maxHeaderLen bounds the bytes read for one entry: its header and the
	// extended headers, long names and sparse maps that go with it. archive/tar
	// has a limit of its own, but for each of them, not the sum.
	maxHeaderLen = 1 << 20

	// maxSegments bounds the maps of all sparse files together, at 24 bytes for a
	// piece: as many as there may be entries.
	maxSegments = maxEntries

	// maxHoles is how many bytes all sparse files together may have that are not
	// stored. They cost nothing but a reader's time: a minute, and not the years
	// of a hole that a header of 512 bytes can describe.
	maxHoles = 64 << 30

	// maxLinks is how many links one lookup follows, as many as Linux does.
	maxLinks = 40
)
