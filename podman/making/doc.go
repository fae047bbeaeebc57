// Package making gives images that package compose describes to the transports of
// containers/image, takes their images as bases, and makes images straight into
// archives.
//
// Reference is for any destination: the image is made when it is opened, its new layers
// wait in unnamed temporary files until they are copied, and those of the base are read
// only if the destination wants them. WriteArchive writes a new archive of this module
// without temporary files. Both make the same bytes.
package making
