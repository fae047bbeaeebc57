// Package files is the tree of files of an image: what its layers add up to. One pass
// over a layer gives its entries and, if they are asked for, restart points into the
// compressed stream; nothing is unpacked. The package knows layers, and nothing of
// images, archives or registries.
//
// # What layers add up to
//
// The tree is what overlayfs shows if each layer is unpacked to a directory of its own.
// That is how docker, containerd and podman run an image.
//
//   - Whiteouts and opaque directories take away what lower layers have, and nothing of
//     their own layer, wherever in it they stand. A directory behind its own whiteout takes
//     the place of that, and shows what lower layers have. Files that aufs left
//     (".wh..wh.plnk" and the like) are not shown.
//   - A later entry of a layer replaces an earlier one of the same path. A directory over
//     a directory replaces what is said of it and keeps what is in it; anything else over
//     a directory takes away all that is in it.
//   - Where a directory in a name is a symbolic link of the same layer, it is followed,
//     with the root of the layer as "/"; what is not there is made. A link of a lower layer
//     is not followed: a directory takes its place. The same holds for any other file.
//   - A hard link is to what its target is when the link is read in its own layer, or else
//     in those below. Header fields of a link are not heeded: it is the same file.
//   - A directory without an entry has what is said of it in lower layers, or else mode
//     0755, owner 0:0 and no time.
//   - Names are cleaned: absolute ones are relative to the root, "a/../b" is "b". One that
//     leads out is an error. They are any bytes.
//
// # What it takes
//
// An entry takes about 200 bytes and its name. Options bound entries and names of all
// layers together; other limits are on paths (4096 bytes), links (40 for one path), bytes
// of sparse files (1 TiB), and what a layer may unpack to (64 GiB or 100 times its size,
// whichever is more). Each is an errdef.ErrLimit that says which.
package files
