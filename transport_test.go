package dockerarchive_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
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
		{"archive.tar:UPPER.com/lower", true},
		{"archive.tar:busybox:" + "t@g", false},
		{"archive.tar:busybox::", false},
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
			got, err := dockerarchive.ParseReference(c.ref)
			other, otherErr := dockerarchive.Transport.ParseReference(c.ref)
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
			again, err := dockerarchive.ParseReference(got.StringWithinTransport())
			require.NoError(t, err)
			assert.Equal(t, got, again)
		})
	}
}

// Archives have names that containers/image has no references for.
func TestReferencesBeyondContainersImage(t *testing.T) {
	for ref, name := range map[string]string{
		"archive.tar:UPPER":                        "",
		"archive.tar:V1.0_RC":                      "",
		"archive.tar:feature/Branch--2":            "",
		"archive.tar:busybox@" + someDigest:        "docker.io/library/busybox@" + someDigest,
		"archive.tar:busybox:latest@" + someDigest: "docker.io/library/busybox:latest@" + someDigest,
	} {
		_, err := archive.ParseReference(ref)
		require.Error(t, err, ref)
		got, err := dockerarchive.ParseReference(ref)
		require.NoError(t, err, ref)
		again, err := dockerarchive.ParseReference(got.StringWithinTransport())
		require.NoError(t, err, ref)
		assert.Equal(t, got, again)
		if name == "" {
			assert.Nil(t, got.DockerReference(), ref)
			assert.Equal(t, ref, got.StringWithinTransport())
			_, err := got.NewImageDestination(t.Context(), nil)
			require.ErrorContains(t, err, "NAME:TAG only")
			continue
		}
		assert.Equal(t, name, got.DockerReference().String())
	}
	_, err := dockerarchive.ParseReference("archive.tar:-x")
	require.ErrorContains(t, err, "invalid reference format")
}

// A path with colons in it is a path, if there is a file.
func TestPathsWithColons(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"app-09:30.tar", "app:1"} {
		require.NoError(t, os.WriteFile(name, []byte("x"), 0o600))
	}
	for s, want := range map[string][2]string{
		"app-09:30.tar":           {"app-09:30.tar", ""},
		"app-09:30.tar:busybox:1": {"app-09:30.tar:docker.io/library/busybox:1", "docker.io/library/busybox:1"},
		"app:1":                   {"app:1", ""},
		"app:1:@2":                {"app:1:@2", ""},
		"app:2":                   {"app:docker.io/library/2:latest", "docker.io/library/2:latest"},
	} {
		ref, err := dockerarchive.ParseReference(s)
		require.NoError(t, err, s)
		assert.Equal(t, want[0], ref.StringWithinTransport())
		if want[1] != "" {
			assert.Equal(t, want[1], ref.DockerReference().String())
		} else {
			assert.Nil(t, ref.DockerReference(), s)
		}
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
		got, err := dockerarchive.NewReference(c.path, c.name)
		if !c.valid {
			require.Error(t, wantErr, "the table is wrong")
			require.ErrorContains(t, err, "docker-archive: ")
			assert.Nil(t, got, "the value that comes with an error may be tested for nil")
			continue
		}
		require.NoError(t, err)
		sameReference(t, want, got)
	}
}

func TestNewIndexReference(t *testing.T) {
	for _, index := range []int{0, 1, 1 << 30} {
		want, err := archive.NewIndexReference("archive.tar", index)
		require.NoError(t, err)
		got, err := dockerarchive.NewIndexReference("archive.tar", index)
		require.NoError(t, err)
		sameReference(t, want, got)
	}
	for _, c := range []struct {
		path  string
		index int
	}{{"archive.tar", -1}, {"archive.tar", -2}, {"a:b", 0}} {
		_, wantErr := archive.NewIndexReference(c.path, c.index)
		require.Error(t, wantErr)
		got, err := dockerarchive.NewIndexReference(c.path, c.index)
		require.ErrorContains(t, err, "docker-archive: ")
		assert.Nil(t, got)
	}
}

func TestTransport(t *testing.T) {
	assert.Equal(t, archive.Transport.Name(), dockerarchive.Transport.Name())
	for _, scope := range []string{"/", "/archive.tar", "archive.tar:busybox"} {
		require.Error(t, archive.Transport.ValidatePolicyConfigurationScope(scope))
		require.ErrorContains(t, dockerarchive.Transport.ValidatePolicyConfigurationScope(scope), "only the default scope")
	}
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		ref, err := transport.ParseReference("s3://bucket/dir/at-09%3A30.tar:app:1")
		require.NoError(t, err)
		assert.Equal(t, "docker.io/library/app:1", ref.DockerReference().String())
		assert.Equal(t, "s3://bucket/dir/at-09%3A30.tar:docker.io/library/app:1", ref.StringWithinTransport())
		scopes := append([]string{ref.PolicyConfigurationIdentity()}, ref.PolicyConfigurationNamespaces()...)
		assert.Equal(t, []string{"s3://bucket/dir/at-09%3A30.tar", "s3://bucket/dir", "s3://bucket"}, scopes)
		presigned, err := transport.ParseReference("https://host/dir/x.tar?X-Amz-Signature=hidden:app:1")
		require.NoError(t, err)
		assert.Equal(t, "https://host/dir/x.tar", presigned.PolicyConfigurationIdentity())
		for _, scope := range append(scopes, "https://host/dir") {
			require.NoError(t, transport.ValidatePolicyConfigurationScope(scope))
		}
	}
}

// Operations that a reference does not support are refused, and make nothing.
func TestReferenceOperations(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "archive.tar")
	index, err := dockerarchive.NewIndexReference(path, 0)
	require.NoError(t, err)
	_, err = index.NewImageDestination(ctx, nil)
	require.ErrorContains(t, err, "not at an index")
	_, _, err = dockerarchive.NewWriterForReference(ctx, nil, index, nil)
	require.ErrorContains(t, err, "not at an index")
	_, _, err = dockerarchive.NewWriterForReference(ctx, nil, imagetest.Saved(t, "one"), nil)
	require.ErrorContains(t, err, "not a reference to an archive")

	ref, err := dockerarchive.NewReference(path, nil)
	require.NoError(t, err)
	require.ErrorContains(t, ref.DeleteImage(ctx, nil), "not supported")
	missing, err := dockerarchive.NewReference(filepath.Join(dir, "missing", "archive.tar"), nil)
	require.NoError(t, err)
	_, err = missing.NewImageDestination(ctx, nil)
	require.ErrorContains(t, err, "missing")
	_, err = ref.NewImage(ctx, nil)
	require.Error(t, err, "there is no archive to read")
	assert.Empty(t, imagetest.Leftovers(t, dir))
}

// This package stands beside the built-in transport, and does not take its name
// unless it is asked to (package register).
func TestBuiltInTransportIsLeftAlone(t *testing.T) {
	assert.Equal(t, types.ImageTransport(archive.Transport), transports.Get("docker-archive"))
}

// References of the transport that containers/image has built in name the same
// archives as ours, wherever a function takes one.
func TestTheirReferences(t *testing.T) {
	m := imagetest.NewImage(t, "theirs", imagetest.Gzip(1, 3000))
	path := filepath.Join(t.TempDir(), "archive.tar")
	ref, err := archive.ParseReference(path + ":app:1")
	require.NoError(t, err)
	assert.True(t, dockerarchive.IsArchive(ref))
	w, inWriter, err := dockerarchive.NewWriterForReference(t.Context(), imagetest.Isolated(), ref, nil)
	require.NoError(t, err)
	assert.False(t, dockerarchive.IsArchive(inWriter))
	require.NoError(t, imagetest.Copy(t, inWriter, m, nil))
	require.NoError(t, w.Close())
	assert.Equal(t, imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: m, Name: "app:1"})), imagetest.Sum(imagetest.ReadFile(t, path)))

	index, err := archive.NewIndexReference(path, 0)
	require.NoError(t, err)
	_, _, err = dockerarchive.NewWriterForReference(t.Context(), nil, index, nil)
	require.ErrorContains(t, err, "not at an index")
	theirReader, err := archive.NewReader(nil, path)
	require.NoError(t, err)
	defer theirReader.Close()
	list, err := theirReader.List()
	require.NoError(t, err)
	for _, their := range []types.ImageReference{ref, index, list[0][0]} {
		r, ours, err := dockerarchive.NewReaderForReference(imagetest.Isolated(), their)
		require.NoError(t, err)
		for _, ref := range []types.ImageReference{their, ours} {
			tags, err := r.ManifestTagsForReference(ref)
			require.NoError(t, err)
			assert.Equal(t, []string{"docker.io/library/app:1"}, tags)
		}
		require.NoError(t, readImage(t.Context(), ours))
		require.NoError(t, r.Close())
	}
	_, _, err = dockerarchive.NewReaderForReference(nil, imagetest.Saved(t, "one"))
	require.ErrorContains(t, err, "not a reference to an archive")
}
