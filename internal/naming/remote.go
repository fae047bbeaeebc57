package naming

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// schemes are those of archives that are elsewhere.
var schemes = []string{"https://", "s3://"}

// Scheme returns the scheme of an archive that is elsewhere, such as https; ok is false for a path of this
// machine.
func Scheme(path string) (scheme string, ok bool) {
	for _, s := range schemes {
		if len(path) > len(s) && strings.EqualFold(path[:len(s)], s) {
			return strings.TrimSuffix(s, "://"), true
		}
	}
	return "", false
}

// splitRemote splits an address from the name of an image: at the first colon behind the host or bucket.
func splitRemote(s string) (address, name string, hasName bool) {
	start := strings.Index(s, "://") + len("://")
	slash := strings.IndexByte(s[start:], '/')
	if slash < 0 {
		return s, "", false
	}
	start += slash
	rest, name, hasName := strings.Cut(s[start:], ":")
	return s[:start] + rest, name, hasName
}

// secrets are the addresses that HideQuery has been given, by the text that it left of them.
var secrets struct {
	sync.Mutex
	addresses map[string]string
}

var httpsAddress = regexp.MustCompile(`(?i)https://[^\s/?#,]+/[^\s?#,:]*(?:\?[^\s#:,]*)?`)

// HideQuery takes query strings and passwords off addresses in s: the query string of a presigned URL
// grants access, and errors and messages print the path of an archive. Query gives them back. A query
// string must not have colons; programs write them as %3A.
func HideQuery(s string) string {
	if !strings.ContainsAny(s, "?@") {
		return s
	}
	secrets.Lock()
	defer secrets.Unlock()
	if secrets.addresses == nil {
		secrets.addresses = map[string]string{}
	}
	return httpsAddress.ReplaceAllStringFunc(s, func(address string) string {
		plain, _, hasQuery := strings.Cut(address, "?")
		host, path, _ := strings.Cut(plain[len("https://"):], "/")
		at := strings.LastIndexByte(host, '@')
		if !hasQuery && at < 0 {
			return address
		}
		plain = "https://" + host[at+1:] + "/" + path
		shown := plain
		for n := 2; ; n++ {
			if old, taken := secrets.addresses[shown]; !taken || old == address {
				secrets.addresses[shown] = address
				return shown
			}
			shown = fmt.Sprintf("%s#%d", plain, n)
		}
	})
}

// Query returns the address that is asked for by a path, which HideQuery may have made.
func Query(path string) (address string) {
	secrets.Lock()
	defer secrets.Unlock()
	if address, ok := secrets.addresses[path]; ok {
		return address
	}
	return path
}

var bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Object returns the bucket and the key of s3://BUCKET/KEY. In the key, %XX stands for a byte: a colon, which would
// begin the name of an image, is %3A, and a percent sign %25.
func Object(path string) (bucket, key string, err error) {
	bucket, key, err = Bucket(path)
	if err == nil && key == "" {
		return "", "", errors.New("there is no key behind the bucket: s3://BUCKET/KEY")
	}
	return bucket, key, err
}

// Bucket is Object, and takes s3://BUCKET and s3://BUCKET/ as well, whose key is empty.
func Bucket(path string) (bucket, key string, err error) {
	const scheme = "s3://"
	if name, ok := Scheme(path); !ok || name != "s3" {
		return "", "", fmt.Errorf("%s does not begin with %s", path, scheme)
	}
	bucket, escaped, _ := strings.Cut(path[len(scheme):], "/")
	if !bucketName.MatchString(bucket) {
		return "", "", fmt.Errorf("%q is not the name of a bucket", bucket)
	}
	if key, err = url.PathUnescape(escaped); err != nil {
		return "", "", fmt.Errorf("the key has a percent sign that is no escape; write it %%25: %w", err)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "." || part == ".." { // Some stores would take another key.
			return "", "", fmt.Errorf("the key has %q between slashes, which not all stores take as it is", part)
		}
	}
	return bucket, key, nil
}

// ObjectPath returns the path of an object: the one of those that Object takes which escapes nothing but percent
// signs, colons and what does not print.
func ObjectPath(bucket, key string) string {
	var b strings.Builder
	b.WriteString("s3://" + bucket + "/")
	for _, c := range []byte(key) {
		if c == '%' || c == ':' || c <= ' ' || c == 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
