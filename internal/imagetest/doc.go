// Package imagetest has helpers for the tests of several packages: images in
// memory whose reading can be watched and disturbed, a registry on this machine,
// the archives that containers/image writes, and a look into archives. It is for
// tests only.
package imagetest
