// Package interop tests the command against real clients: what it writes is loaded with
// docker, podman, containerd and the other programs people load image archives with, and what
// those write is collected for reading tests.
//
// It holds nothing but tests, built with the tag "interop", except for those that only read the
// docs, and run by "make interop". They need root, and the clients that the script "clients"
// beside this file brings; a client that is missing fails the tests. Daemons listen on unix sockets in temporary directories and end with
// the test that started them. Nothing outside this machine is contacted, but for the Go module
// proxy by the tests that build other programs with this project.
package interop
