// Package address parses addresses of archives in buckets and on servers: the object of an address, and its scopes in
// signature policies.
package address

import (
	"net/url"
	"path"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/naming"
)

// Identity returns the scope of the archive at an address in signature policies, and the wider scopes around it, the
// narrowest first: s3://BUCKET/DIR/KEY, s3://BUCKET/DIR and s3://BUCKET, and https://HOST/DIR/FILE and so on. All
// addresses of one archive have the same identity: it has no query string, and is escaped as little as possible. A
// path of this machine has the identity "", because it says nothing about who made the archive.
func Identity(archive string) (identity string, wider []string) {
	scheme, _ := naming.Scheme(archive)
	switch scheme {
	case "s3":
		bucket, key, err := Object(archive)
		if err != nil {
			return "", nil
		}
		identity = ObjectPath(bucket, key)
	case "https":
		u, err := url.Parse(archive)
		if err != nil || u.Host == "" {
			return "", nil
		}
		host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
		// A server may resolve dots, so they must not lead out of a scope.
		clean := url.URL{Scheme: "https", Host: host, Path: path.Clean("/" + u.Path)}
		identity = strings.TrimSuffix(clean.String(), "/")
	default:
		return "", nil
	}
	start := len(scheme) + len("://")
	for at := strings.LastIndexByte(identity, '/'); at >= start; at = strings.LastIndexByte(identity[:at], '/') {
		wider = append(wider, identity[:at])
	}
	return identity, wider
}

// IsScope reports whether a scope of a signature policy can be that of an archive: an identity, or one of
// the wider scopes.
func IsScope(scope string) bool {
	if bucket, ok := strings.CutPrefix(scope, "s3://"); ok && bucketName.MatchString(bucket) {
		return true
	}
	identity, _ := Identity(scope)
	return identity != "" && identity == scope
}
