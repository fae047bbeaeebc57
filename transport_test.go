package dockerarchive

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// sameReference checks that two references answer alike.
func sameReference(t *testing.T, want, got types.ImageReference) {
	t.Helper()
	assert.Equal(t, want.StringWithinTransport(), got.StringWithinTransport())
	assert.Equal(t, want.Transport().Name(), got.Transport().Name())
	assert.Equal(t, want.PolicyConfigurationIdentity(), got.PolicyConfigurationIdentity())
	assert.Equal(t, want.PolicyConfigurationNamespaces(), got.PolicyConfigurationNamespaces())
	assert.Equal(t, transports.ImageName(want), transports.ImageName(got))
	if want.DockerReference() == nil {
		assert.Nil(t, got.DockerReference())
		return
	}
	require.NotNil(t, got.DockerReference())
	assert.Equal(t, want.DockerReference().String(), got.DockerReference().String())
}

// References are parsed, and refused, as containers/image does.
func TestParseReference(t *testing.T) {
	for _, c := range []struct {
		ref   string
		valid bool
	}{
		{"", false},
		{"archive.tar", true},
		{"/absolute/archive.tar", true},
		{"../up/archive.tar", true},
		{"with space", true},
		{"archive.tar:", false},
		{":", false},
		{":name", true},
		{":@0", true},
		{"archive.tar:busybox", true},
		{"archive.tar:busybox:latest", true},
		{"archive.tar:busybox:notlatest", true},
		{"archive.tar:library/busybox", true},
		{"archive.tar:docker.io/library/busybox:1", true},
		{"archive.tar:example.com:5000/ns/busybox:1", true},
		{"archive.tar:example.com:5000/ns/busybox", true},
		{"archive.tar:UPPER", false},
		{"archive.tar:UPPER.com/lower", true},
		{"archive.tar:busybox:" + "t@g", false},
		{"archive.tar:busybox::", false},
		{"archive.tar:busybox@" + someDigest, false},
		{"archive.tar:busybox:latest@" + someDigest, false},
		{"archive.tar:" + someDigest, true}, // a name and a tag, to both
		{"archive.tar:" + someDigest[len("sha256:"):], false},
		{"archive.tar:@0", true},
		{"archive.tar:@12", true},
		{"archive.tar:@007", true},
		{"archive.tar:@+1", true},
		{"archive.tar:@-0", true},
		{"archive.tar:@-1", false},
		{"archive.tar:@", false},
		{"archive.tar:@one", false},
		{"archive.tar:@1:busybox", false},
		{"archive.tar:@99999999999999999999", false},
		{"archive.tar:busybox@1", false},
	} {
		t.Run(c.ref, func(t *testing.T) {
			want, wantErr := archive.ParseReference(c.ref)
			got, err := ParseReference(c.ref)
			other, otherErr := Transport.ParseReference(c.ref)
			if !c.valid {
				require.Error(t, wantErr, "the table is wrong")
				require.ErrorContains(t, err, "docker-archive: ")
				require.Error(t, otherErr)
				return
			}
			require.NoError(t, wantErr, "the table is wrong")
			require.NoError(t, err)
			require.NoError(t, otherErr)
			sameReference(t, want, got)
			assert.Equal(t, got, other)
			again, err := ParseReference(got.StringWithinTransport())
			require.NoError(t, err)
			assert.Equal(t, got, again)
		})
	}
}

func TestNewReference(t *testing.T) {
	named, err := reference.ParseNormalizedNamed("busybox")
	require.NoError(t, err)
	tag := reference.TagNameOnly(named).(reference.NamedTagged)
	both, err := reference.ParseNormalizedNamed("busybox:1@" + someDigest)
	require.NoError(t, err)
	for _, c := range []struct {
		path  string
		name  reference.NamedTagged
		valid bool
	}{
		{"archive.tar", nil, true},
		{"archive.tar", tag, true},
		{"", nil, true},
		{"a:b", nil, false},
		{"a:b", tag, false},
		{"archive.tar", both.(reference.NamedTagged), false},
	} {
		want, wantErr := archive.NewReference(c.path, c.name)
		got, err := NewReference(c.path, c.name)
		if !c.valid {
			require.Error(t, wantErr, "the table is wrong")
			require.ErrorContains(t, err, "docker-archive: ")
			assert.Nil(t, got, "the value that comes with an error may be tested for nil")
			continue
		}
		require.NoError(t, err)
		sameReference(t, want, got)
	}
	// A reference that has both can only be asked for inside the package.
	_, err = Transport.newReference("archive.tar", tag, 0)
	require.ErrorContains(t, err, "not both")
}

func TestNewIndexReference(t *testing.T) {
	for _, index := range []int{0, 1, 1 << 30} {
		want, err := archive.NewIndexReference("archive.tar", index)
		require.NoError(t, err)
		got, err := NewIndexReference("archive.tar", index)
		require.NoError(t, err)
		sameReference(t, want, got)
	}
	for _, c := range []struct {
		path  string
		index int
	}{{"archive.tar", -1}, {"archive.tar", -2}, {"a:b", 0}} {
		_, wantErr := archive.NewIndexReference(c.path, c.index)
		require.Error(t, wantErr)
		got, err := NewIndexReference(c.path, c.index)
		require.ErrorContains(t, err, "docker-archive: ")
		assert.Nil(t, got)
	}
}

func TestTransport(t *testing.T) {
	assert.Equal(t, archive.Transport.Name(), Transport.Name())
	for _, scope := range []string{"/", "/archive.tar", "archive.tar:busybox"} {
		require.Error(t, archive.Transport.ValidatePolicyConfigurationScope(scope))
		require.ErrorContains(t, Transport.ValidatePolicyConfigurationScope(scope), "only the default scope")
	}
}

// What a reference cannot be used for is refused, and nothing is made.
func TestReferenceOperations(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "archive.tar")
	index, err := NewIndexReference(path, 0)
	require.NoError(t, err)
	_, err = index.NewImageDestination(ctx, nil)
	require.ErrorContains(t, err, "not at an index")
	_, _, err = NewWriterForReference(nil, index)
	require.ErrorContains(t, err, "not at an index")
	_, _, err = NewWriterForReference(nil, testImage(t, "one"))
	require.ErrorContains(t, err, "not a reference to an archive")

	ref, err := NewReference(path, nil)
	require.NoError(t, err)
	require.ErrorContains(t, ref.DeleteImage(ctx, nil), "not supported")
	missing, err := NewReference(filepath.Join(dir, "missing", "archive.tar"), nil)
	require.NoError(t, err)
	_, err = missing.NewImageDestination(ctx, nil)
	require.ErrorContains(t, err, "missing")
	_, err = ref.NewImage(ctx, nil)
	require.Error(t, err, "there is no archive to read")
	assert.Empty(t, leftovers(t, dir))
}

// This package stands beside the built-in transport, and does not take its name
// unless it is asked to (package register).
func TestBuiltInTransportIsLeftAlone(t *testing.T) {
	assert.Equal(t, types.ImageTransport(archive.Transport), transports.Get("docker-archive"))
}
