package dockerarchive

// Reader reads the images of one archive.
type Reader struct{}
