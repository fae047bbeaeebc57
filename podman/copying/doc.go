// Package copying copies images, from any transport of containers/image, into
// archives: one with [Copy], or many with [Save]; and out of them, into registries,
// with [Push]. It uses abilities of this module's archives that copy.Image of
// containers/image does not know of.
//
// It is a package of its own because it links every transport: a program that
// only reads archives, or only needs the transport, does without. It is built with the tag
// containers_image_openpgp, or else needs the C library gpgme.
package copying
