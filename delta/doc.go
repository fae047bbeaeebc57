// Package delta makes and applies differences between blobs, exact to the byte: a
// new layer from the old ones that its receiver has.
//
//	h, err := delta.Make(ctx, file, newLayer, []delta.Source{oldLayer}, nil)
//	...
//	d, err := delta.Open(file, size)
//	err = d.Apply(ctx, out, []delta.Source{oldLayer}, nil) // out gets newLayer
//
// Layers are gzip files, and a change of a few bytes changes all of a gzip file
// that comes behind them. So a delta is made of two parts. One is the difference of
// the texts, the uncompressed tar files: copies from an old text, with corrections,
// and new text. The other is how the gzip file is made from its text: the tokens,
// block headers, member headers and trailers, as far as they are not as predicted.
// The predictor is a model of the encoder that made the file, if there is one. Then
// any file with the same text as the old layer will do as the base. Else it takes
// the tokens that the old layer has along the copies, and needs the very file; see
// [Header.NeedsCompressedBases]. The result is the new layer to the byte, with its
// digest: manifests and signatures stay valid.
//
// The package knows nothing of images, manifests or archives. It reads blobs by
// [io.ReaderAt], so that they may be in a registry's store, a container store, an
// OSTree repository or a file. Making and applying each take at most 96 MB of memory,
// for blobs of any size. The texts of compressed blobs wait in temporary files
// without names.
//
// A delta is untrusted input: its sizes have limits, and its output is never larger
// than the size in [Header]. Compare that with the expected size, such as the
// layer's in a manifest, before you apply it. Nothing counts as the target before
// [Delta.Apply] has returned without error.
//
// The file format is in docs/format.md of this module. It does not depend on any
// release of a compressor.
package delta
