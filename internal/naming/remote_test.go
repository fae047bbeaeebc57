package naming

import (
	"testing"

	"github.com/stretchr/testify/assert"
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
