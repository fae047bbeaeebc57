// Package loading puts a Selection where images are run: into a Docker daemon, a content
// store as containerd's, or the storage of podman and CRI-O. What is there is not sent.
package loading
