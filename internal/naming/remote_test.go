package naming

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSplitRemote(t *testing.T) {
	for in, want := range map[string][2]string{
		"https://host/x.tar":                      {"https://host/x.tar", ""},
		"https://host:8443/a/x.tar":               {"https://host:8443/a/x.tar", ""},
		"https://host:8443/a/x.tar:app:1":         {"https://host:8443/a/x.tar", "app:1"},
		"https://host/x.tar:@3":                   {"https://host/x.tar", "@3"},
		"https://host/x.tar:h:5000/app:1":         {"https://host/x.tar", "h:5000/app:1"},
		"https://[::1]:8443/x.tar:app@sha256:00":  {"https://[::1]:8443/x.tar", "app@sha256:00"},
		"s3://bucket/dir/x.tar:example.com/app:1": {"s3://bucket/dir/x.tar", "example.com/app:1"},
		"https://host":                            {"https://host", ""},
	} {
		path, name, hasName := Split(in)
		assert.Equal(t, want, [2]string{path, name}, in)
		assert.Equal(t, want[1] != "", hasName, in)
	}
}

func TestObject(t *testing.T) {
	for path, want := range map[string][2]string{
		"s3://bucket/x.tar":           {"bucket", "x.tar"},
		"S3://my.bucket-1/a//b.tar":   {"my.bucket-1", "a//b.tar"},
		"s3://b/at-09%3A30.tar":       {"b", "at-09:30.tar"},
		"s3://b/100%25%2F?x=1#y@z%C3": {"b", "100%/?x=1#y@z\xc3"},
		"s3://b/%41/..b/":             {"b", "A/..b/"},
	} {
		bucket, key, err := Object(path)
		require.NoError(t, err, path)
		assert.Equal(t, want, [2]string{bucket, key}, path)
		bucket, key, err = Object(ObjectPath(bucket, key))
		require.NoError(t, err, path)
		assert.Equal(t, want, [2]string{bucket, key}, path)
	}
	for _, path := range []string{"s3://bucket", "s3://bucket/", "s3:///x", "s3://a@b/x", "s3://b/%", "s3://b/%4", "s3://b/a/../c", "s3://b/%2E", "https://b/x", "/x"} {
		_, _, err := Object(path)
		assert.Error(t, err, path)
	}
	assert.Equal(t, "s3://b/a%3Ab%25 c%0A", strings.ReplaceAll(ObjectPath("b", "a:b% c\n"), "%20", " "))
}

func TestIdentity(t *testing.T) {
	for path, want := range map[string][]string{
		"s3://bucket/a/b.tar":                {"s3://bucket/a/b.tar", "s3://bucket/a", "s3://bucket"},
		"S3://bucket/%61%3Ab%25.tar":         {"s3://bucket/a%3Ab%25.tar", "s3://bucket"},
		"s3://bucket/a//b.tar":               {"s3://bucket/a//b.tar", "s3://bucket/a/", "s3://bucket/a", "s3://bucket"},
		"https://Host:443/a/%62.tar":         {"https://host/a/b.tar", "https://host/a", "https://host"},
		"https://host:8443/a/b.tar#2":        {"https://host:8443/a/b.tar", "https://host:8443/a", "https://host:8443"},
		"https://host/good/%2e%2e/bad/x.tar": {"https://host/bad/x.tar", "https://host/bad", "https://host"},
		"https://host/good/..%2Fbad.tar":     {"https://host/bad.tar", "https://host"},
		"https://host/a%3Ab%25.tar":          {"https://host/a:b%25.tar", "https://host"},
		"https://[::1]:443/x.tar":            {"https://[::1]/x.tar", "https://[::1]"},
		"/a/b.tar":                           {""},
		"s3://b/../x":                        {""},
	} {
		identity, wider := Identity(path)
		assert.Equal(t, want, append([]string{identity}, wider...), path)
		for _, scope := range append(wider, identity) {
			assert.Equal(t, scope != "", IsScope(scope), scope)
		}
	}
	for _, scope := range []string{"", "/a", "s3://", "s3://a b", "S3://bucket", "https://HOST/x", "https://host/a/../b", "s3://b/%41", "docker.io"} {
		assert.False(t, IsScope(scope), scope)
	}
}

func TestHideQuery(t *testing.T) {
	path, name, _ := Split("https://host/hidden.tar?sig=a%3Ab&n=1:app:1")
	assert.Equal(t, "https://host/hidden.tar", path)
	assert.Equal(t, "app:1", name)
	assert.Equal(t, "https://host/hidden.tar?sig=a%3Ab&n=1", Query(path))
	assert.Equal(t, path, HideQuery("https://host/hidden.tar?sig=a%3Ab&n=1"))
	other := HideQuery("https://host/hidden.tar?sig=other")
	assert.NotEqual(t, path, other)
	assert.NotContains(t, other, "sig")
	assert.Equal(t, "https://host/hidden.tar?sig=other", Query(other))
	assert.Equal(t, "--without=https://host/flag.tar", HideQuery("--without=https://host/flag.tar?sig=1"))
	assert.Equal(t, "https://host/x.tar:app:1", HideQuery("https://me:secret@host/x.tar:app:1"))
	path, _, _ = Split("https://me:secret@host:8443/secret.tar:app:1")
	assert.Equal(t, "https://host:8443/secret.tar", path)
	assert.Equal(t, "https://me:secret@host:8443/secret.tar", Query(path))
	for _, same := range []string{"what?", "docker://host/app:1", "a?b/https", "https://host/x.tar:app@sha256:00", "https://host/x.tar:@1"} {
		assert.Equal(t, same, HideQuery(same))
	}
	assert.Equal(t, "/a/b.tar", Query("/a/b.tar"))
}
