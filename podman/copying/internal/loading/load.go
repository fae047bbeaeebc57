// Package loading puts a Selection where images are run: into a Docker daemon, a content
// store as containerd's, or the storage of podman and CRI-O. It does not send blobs that
// are there.
package loading
