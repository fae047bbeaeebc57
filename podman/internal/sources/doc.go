// Package sources opens images with containers/image and reads their blobs: concurrently
// where that is safe, in ranges where a registry has them, and on from where a connection
// broke. It holds the one policy of retries. It knows nothing of archives that are
// written.
package sources
