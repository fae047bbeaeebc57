package containerd_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dockerarchive/dockerarchive/podman/copying/containerd"
)

// layout returns an archive of blobs.
func layout(t *testing.T, blobs ...[]byte) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, data []byte) {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "blobs/sha256/"}))
	for _, data := range blobs {
		add("blobs/sha256/"+digest.FromBytes(data).Encoded(), data)
	}
	add("index.json", []byte("{}"))
	require.NoError(t, w.Close())
	return &b
}

func TestReceive(t *testing.T) {
	s, store := start(t)
	large, there := bytes.Repeat([]byte("0123456789"), 300_000), []byte("there")
	s.blobs[digest.FromBytes(there).String()] = there
	require.NoError(t, store.Receive(t.Context(), layout(t, there, large, nil)))
	assert.Equal(t, len(large), s.sent, "and not what is there")
	for _, data := range [][]byte{large, there, nil} {
		has, err := store.Has(t.Context(), digest.FromBytes(data))
		require.NoError(t, err)
		assert.True(t, has)
		assert.True(t, s.kept["content "+digest.FromBytes(data).String()])
	}
	has, err := store.Has(t.Context(), digest.FromString("nothing"))
	require.NoError(t, err)
	assert.False(t, has)
	assert.Empty(t, s.aborted)
	require.NoError(t, store.Close())
	assert.Empty(t, s.leases)
}

// Every failure while a blob is sent is an error with the blob's digest, and nothing of
// the blob stays.
func TestReceiveFails(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 300_000)
	d := digest.FromBytes(data)
	cut := func(n int64) io.Reader { return io.LimitReader(layout(t, data), n) }
	other := layout(t, data)
	spoilt, err := io.ReadAll(other)
	require.NoError(t, err)
	spoilt[len(spoilt)/2] ^= 1
	at := func(action contentapi.WriteAction, err error) func(context.Context, *contentapi.WriteContentRequest) error {
		return func(_ context.Context, r *contentapi.WriteContentRequest) error {
			if r.Action == action {
				return err
			}
			return nil
		}
	}
	full := status.Error(codes.ResourceExhausted, "no space left")
	for name, c := range map[string]struct {
		archive io.Reader
		writing func(context.Context, *contentapi.WriteContentRequest) error
		want    string
	}{
		"cut off":            {cut(1_000_000), nil, "unexpected EOF"},
		"spoilt":             {bytes.NewReader(spoilt), nil, "unexpected commit digest"},
		"refused at first":   {layout(t, data), at(contentapi.WriteAction_STAT, full), "no space left"},
		"refused halfway":    {layout(t, data), at(contentapi.WriteAction_WRITE, full), "no space left"},
		"refused in the end": {layout(t, data), at(contentapi.WriteAction_COMMIT, full), "no space left"},
	} {
		t.Run(name, func(t *testing.T) {
			s, store := start(t)
			s.writing = c.writing
			err := store.Receive(t.Context(), c.archive)
			require.ErrorContains(t, err, "sending blob "+d.String()+" to containerd: ")
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "rpc")
			assert.Len(t, s.aborted, 1)
			assert.Empty(t, s.blobs)
			require.NoError(t, store.Close())
		})
	}
	_, store := start(t)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "blobs/sha256/../../x"}))
	require.NoError(t, w.Close())
	require.ErrorContains(t, store.Receive(t.Context(), &b), `"blobs/sha256/../../x"`)
	require.ErrorContains(t, store.Receive(t.Context(), strings.NewReader("x")), "reading what is sent to containerd")
	require.NoError(t, store.Close())
}

// A containerd that dies is an error at once, whatever it was doing.
func TestReceiveDying(t *testing.T) {
	s, store := start(t)
	s.writing = func(ctx context.Context, r *contentapi.WriteContentRequest) error {
		if r.Offset == 0 {
			return nil
		}
		go s.stop()
		<-ctx.Done()
		return ctx.Err()
	}
	err := store.Receive(t.Context(), layout(t, make([]byte, 3<<20)))
	require.ErrorContains(t, err, "to containerd: ")
	_, err = store.Has(t.Context(), digest.FromString(""))
	require.ErrorContains(t, err, "asking containerd for blob")
	require.ErrorContains(t, store.Close(), "leaving containerd: ")
}

func TestOpenFails(t *testing.T) {
	_, err := containerd.Open(t.Context(), containerd.Config{Address: t.TempDir() + "/none"})
	require.ErrorContains(t, err, "/none: taking a lease")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = containerd.Open(ctx, containerd.Config{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestName(t *testing.T) {
	s, store := start(t)
	for _, text := range []string{"one", "two"} {
		d := digest.FromString(text)
		require.NoError(t, store.Name(t.Context(), "example.com/x:1", imgspecv1.Descriptor{Digest: d}))
		assert.Equal(t, map[string]string{"example.com/x:1": d.String()}, s.images)
	}
	document, to := digest.FromString("document"), []digest.Digest{digest.FromString("a"), digest.FromString("b")}
	require.NoError(t, store.Refer(t.Context(), document, to))
	require.NoError(t, store.Refer(t.Context(), document, nil))
	assert.ElementsMatch(t, []string{to[0].String(), to[1].String()}, slices.Collect(maps.Values(s.labels[document.String()])))
	require.NoError(t, store.Close())
}

func TestUnpack(t *testing.T) {
	config, diffID := digest.FromString("config"), digest.FromString("layer")
	layers, diffIDs := make([]imgspecv1.Descriptor, 3), []digest.Digest{diffID, diffID, diffID}
	chain := identity.ChainIDs(slices.Clone(diffIDs))
	for name, c := range map[string]struct {
		prepare func(*server)
		want    string
	}{
		"empty":       {func(*server) {}, ""},
		"base there":  {func(s *server) { s.snapshots[chain[0].String()] = "" }, ""},
		"raced":       {func(s *server) { s.raced = true }, ""},
		"other layer": {func(s *server) { s.diffID = "sha256:other" }, "its diff ID is sha256:other, and not " + diffID.String()},
	} {
		t.Run(name, func(t *testing.T) {
			s, store := start(t)
			s.diffID = diffID.String()
			c.prepare(s)
			err := store.Unpack(t.Context(), config, layers, diffIDs)
			for key := range s.snapshots {
				assert.NotContains(t, key, "extract", "nothing unfinished stays")
			}
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				assert.Empty(t, s.labels)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, map[string]string{"containerd.io/gc.ref.snapshot.overlayfs": chain[2].String()}, s.labels[config.String()])
			if !s.raced {
				assert.Equal(t, map[string]string{chain[0].String(): "", chain[1].String(): chain[0].String(), chain[2].String(): chain[1].String()}, s.snapshots)
			}
			require.NoError(t, store.Close())
		})
	}
	_, store := start(t)
	require.Error(t, store.Unpack(t.Context(), config, layers, nil))
	require.NoError(t, store.Unpack(t.Context(), config, nil, nil))
	require.NoError(t, store.Close())
}

// Every fault that containerd answers to a kind of request is an error that says so, and
// an image that has no name yet gets none.
func TestFaults(t *testing.T) {
	layer := []byte("layer")
	config, d := digest.FromString("config"), digest.FromBytes(layer)
	// load does every step of loading an image.
	load := func(t *testing.T, s *server, store *containerd.Store) error {
		s.diffID = d.String()
		_, err := store.Has(t.Context(), d)
		for _, step := range []func() error{
			func() error { return store.Receive(t.Context(), layout(t, layer)) },
			func() error { return store.Refer(t.Context(), config, []digest.Digest{d}) },
			func() error {
				return store.Name(t.Context(), "example.com/x:1", imgspecv1.Descriptor{Digest: config})
			},
			func() error {
				return store.Unpack(t.Context(), config, []imgspecv1.Descriptor{{Digest: d}}, []digest.Digest{d})
			},
			store.Close,
		} {
			if err == nil {
				err = step()
			}
		}
		return err
	}
	s, store := start(t)
	require.NoError(t, load(t, s, store))
	methods := slices.DeleteFunc(slices.Sorted(maps.Keys(s.asked)), func(method string) bool { return strings.HasSuffix(method, "Leases/Create") }) // See TestOpenFails.
	assert.Len(t, methods, 9, methods)
	for _, method := range methods {
		for _, code := range []codes.Code{codes.Internal, codes.Unavailable, codes.Unimplemented, codes.PermissionDenied, codes.Unknown} {
			t.Run(fmt.Sprint(method, " ", code), func(t *testing.T) {
				s, store := start(t)
				s.fault, s.code = method, code
				err := load(t, s, store)
				require.ErrorContains(t, err, "it is ill")
				require.ErrorContains(t, err, "containerd")
				assert.NotContains(t, err.Error(), "rpc")
				if !strings.Contains(method, "Snapshots") && !strings.Contains(method, "Diff") && !strings.Contains(method, "Leases/Delete") {
					assert.Empty(t, s.images)
				}
			})
		}
	}
}
