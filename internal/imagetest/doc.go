// Package imagetest is what the tests of several packages have in common: images
// that are made in memory, whose reading can be watched and disturbed, a registry
// on this machine, the archives that containers/image writes, and a look at what
// is in an archive. It is for tests only.
package imagetest
