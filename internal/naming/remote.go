package naming

import (
	"fmt"
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
