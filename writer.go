package dockerarchive

// Writer writes several images to one archive.
type Writer struct{}
