package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// tree returns the files of the image: those of the base, and above them what is added. A
// layer is read when its files are asked for.
func (m *maker) tree(ctx context.Context) (*files.Tree, error) {
	var sources []files.Source
	looks := m.image.Squash || slices.ContainsFunc(m.added, func(l Layer) bool { return looksBelow(l.Content) })
	m.base.kept = make([]*kept, len(m.base.layers))
	for i, l := range m.base.layers {
		var content Content = baseLayer{m.base.from[i], l.Descriptor}
		if r, ok := m.base.from[i].(RemoteBase); ok && r.Remote() && looks {
			m.base.kept[i] = &kept{Content: content, maker: m}
			content = m.base.kept[i]
		}
		source := m.source(content, Expected{l.Digest, l.Size, l.diffID}, nil)
		if r, ok := m.base.from[i].(RandomBase); ok && looks {
			at, size, stored, err := r.At(ctx, l.Descriptor)
			if err != nil {
				return nil, fmt.Errorf("layer %s of the base: %w", l.Digest, err)
			}
			if at != nil {
				source.Digest = stored
				source.At = func(context.Context) (io.ReaderAt, int64, error) { return at, size, nil }
			}
		}
		sources = append(sources, source)
	}
	for i := range m.added {
		l := &m.added[i]
		if l.Content == nil {
			continue
		}
		if isOnce(l.Content) { // A second reading shows its files, or puts inside what leads out.
			l.Content = &kept{Content: l.Content, maker: m}
		}
		n := len(sources)
		source := m.source(l.Content, l.Expected, func() *files.Tree { return m.files.Below(n) })
		moved := &outside{layer: l.Content.Name()}
		source.Outside = moved.move
		m.outside = append(m.outside, moved)
		sources = append(sources, source)
	}
	return files.New(sources, files.Options{TempDir: m.image.TempDir}), nil
}

// openBase opens a layer of the base to be copied: the kept copy, if there is one.
func (m *maker) openBase(ctx context.Context, i int, d v1.Descriptor) (io.ReadCloser, error) {
	if k := m.base.kept[i]; k != nil {
		return k.openOn(ctx, nil)
	}
	return m.base.from[i].Blob(ctx, d)
}

// looksBelow reports whether content may ask for the files of the layers below.
func looksBelow(content Content) bool {
	switch c := content.(type) {
	case Part, packed:
		return true
	case *filtered:
		return looksBelow(c.Content)
	}
	return false
}

// source returns content as a layer of a tree.
func (m *maker) source(content Content, expected Expected, below func() *files.Tree) files.Source {
	return files.Source{Name: content.Name(), DiffID: expected.DiffID, Again: true, Size: expected.Size, Open: func(ctx context.Context) (io.ReadCloser, error) {
		var lower *files.Tree
		if below != nil {
			lower = below()
		}
		return open(ctx, verified{content, Expected{expected.Digest, expected.Size, ""}}, lower)
	}}
}

// baseLayer is a layer of a base.
type baseLayer struct {
	base Base
	d    v1.Descriptor
}

// Name implements Content.
func (l baseLayer) Name() string { return l.d.Digest.String() + " of the base" }

// Open implements Content.
func (l baseLayer) Open(ctx context.Context) (io.ReadCloser, error) { return l.base.Blob(ctx, l.d) }

// kept is content that is read only once, and kept in a temporary file then.
type kept struct {
	Content
	maker *maker

	mutex sync.Mutex
	file  *local.File
	size  int64
}

func (k *kept) openOn(ctx context.Context, lower *files.Tree) (io.ReadCloser, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.file == nil {
		file, size, err := k.maker.copy(ctx, func() (io.ReadCloser, error) { return open(ctx, k.Content, lower) })
		if err != nil {
			return nil, err
		}
		if err := k.maker.temporary.keep(file); err != nil {
			return nil, err
		}
		k.file, k.size = file, size
	}
	return io.NopCloser(io.NewSectionReader(k.file, 0, k.size)), nil
}

// copy copies a stream into a temporary file.
func (m *maker) copy(ctx context.Context, open func() (io.ReadCloser, error)) (*local.File, int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	opened, err := open()
	if err != nil {
		cancel()
		return nil, 0, err
	}
	stream := async.NewReadCloser(ctx, opened) // Reading what was opened may not heed ctx.
	defer stream.Close()                       //nolint:errcheck // It was only read.
	defer cancel()                             // So that it is not waited for.
	file, err := spool.Create(spool.Dir(m.image.TempDir))
	if err != nil {
		return nil, 0, err
	}
	size, err := io.Copy(file, stream)
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, size, nil
}

// temporary are the temporary files of an image. Layers of the base may be read, and so
// kept, by others while the image is made, and after that.
type temporary struct {
	mutex  sync.Mutex
	files  []*local.File
	closed bool
}

// keep has a file freed by close. It frees it at once, and returns an error, after that.
func (t *temporary) keep(f *local.File) error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.closed {
		return errors.Join(errors.New("the image is closed"), f.Close())
	}
	t.files = append(t.files, f)
	return nil
}

// close frees the files.
func (t *temporary) close() error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	var errs []error
	for _, f := range t.files {
		errs = append(errs, f.Close())
	}
	t.files, t.closed = nil, true
	return errors.Join(errs...)
}

// verified is content that fails to read, at its end, if it is not the expected one.
type verified struct {
	Content
	expected Expected
}

func (v verified) openOn(ctx context.Context, lower *files.Tree) (io.ReadCloser, error) {
	stream, err := open(ctx, v.Content, lower)
	if err != nil {
		return nil, err
	}
	stream = v.expected.verify(stream)
	if v.expected.DiffID == "" {
		return stream, nil
	}
	tar, err := unpack(ctx, stream)
	if err != nil {
		return nil, err
	}
	return Expected{Digest: v.expected.DiffID}.verify(tar), nil
}

// verify returns a reader of content that has an error at its end if the content is not
// what is expected. The diff ID is not looked at.
func (e Expected) verify(content io.ReadCloser) io.ReadCloser {
	if e.Digest == "" && e.Size == 0 {
		return content
	}
	v := &verifying{ReadCloser: content, want: e}
	if e.Digest != "" {
		if v.err = e.Digest.Validate(); v.err != nil {
			v.err = fmt.Errorf("its digest should be %q: %w", e.Digest, v.err)
			return v
		}
		v.digester = e.Digest.Algorithm().Digester()
	}
	return v
}

// verifying verifies what is read.
type verifying struct {
	io.ReadCloser
	want     Expected
	digester digest.Digester // nil if no digest is wanted
	size     int64
	err      error
}

// Read returns an error in place of the end if the content was something else.
func (v *verifying) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.ReadCloser.Read(p)
	v.size += int64(n)
	if v.digester != nil {
		_, _ = v.digester.Hash().Write(p[:n]) // Hashes do not fail.
	}
	if v.want.Size > 0 && (v.size > v.want.Size || err == io.EOF && v.size != v.want.Size) {
		v.err = errdef.Errorf(errdef.ErrDamaged, "it has %d bytes or more instead of %d", v.size, v.want.Size)
		if err == io.EOF {
			v.err = errdef.Errorf(errdef.ErrDamaged, "it has %d bytes instead of %d", v.size, v.want.Size)
		}
	} else if err == io.EOF && v.digester != nil && v.digester.Digest() != v.want.Digest {
		v.err = &errdef.MismatchError{Name: "its content", Want: v.want.Digest, Got: v.digester.Digest()}
	}
	if v.err != nil {
		return n, v.err
	}
	return n, err
}
