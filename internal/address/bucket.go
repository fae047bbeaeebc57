package address

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/naming"
)

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

// Bucket is like Object, but also takes s3://BUCKET and s3://BUCKET/, with an empty key.
func Bucket(path string) (bucket, key string, err error) {
	const scheme = "s3://"
	if name, ok := naming.Scheme(path); !ok || name != "s3" {
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
		if part == "." || part == ".." { // Some stores would use another key.
			return "", "", fmt.Errorf("the key has %q between slashes, which not all stores take as it is", part)
		}
	}
	return bucket, key, nil
}

// ObjectPath returns the path of an object. It escapes only percent signs, colons, spaces and control characters, so
// each object has one such path.
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
