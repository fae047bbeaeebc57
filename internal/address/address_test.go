package address

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
