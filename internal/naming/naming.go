// Package naming splits the path of an archive from the name of an image in it. It does not
// know what a name stands for.
package naming

import (
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
)

// freeName matches a name that the OCI image layout allows
// (org.opencontainers.image.ref.name), except names with a colon or an at sign: these must be
// NAME:TAG or NAME@DIGEST.
//
// Work at the start costs time and memory in every run. So long expressions are
// compiled when they are needed, and lengths are compared without them.
var (
	freeName = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[A-Za-z0-9]+(?:(?:[-._+]|--)[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:(?:[-._+]|--)[A-Za-z0-9]+)*)*$`)
	})
	// tagText is without its limit, which is maxTag.
	tagText = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]*$`)
)

const (
	maxTag = 128
	lenID  = 64
)

// IsFree reports whether something can be the name of an image in an OCI image
// layout although it is no reference. A name that looks like an image ID is a mistake.
func IsFree(name string) bool {
	isID := len(name) == lenID && strings.Trim(name, "0123456789abcdef") == ""
	return !isID && freeName().MatchString(name)
}

// IsTag reports whether s can be the tag of a name: as the distribution specification has it.
func IsTag(s string) bool { return len(s) <= maxTag && tagText.MatchString(s) }

// SplitTag splits NAME:TAG, which need be no reference: containerd and Docker know images by
// names that containers/image has no grammar for, such as [::1]:5000/app:1.
func SplitTag(s string) (name, tag string, ok bool) {
	colon := strings.LastIndexByte(s, ':')
	if colon <= 0 || colon == len(s)-1 || strings.ContainsAny(s[colon:], "/]") || strings.ContainsAny(s, "@ ") {
		return "", "", false
	}
	return s[:colon], s[colon+1:], true
}

// Split splits PATH[:NAME] at the first colon, unless the part before a later one, or all of
// it, is the path of a file. The path may be the address of an archive elsewhere, whose query
// string is hidden (HideQuery).
func Split(s string) (path, name string, hasName bool) {
	if _, ok := Scheme(s); ok {
		return splitRemote(HideQuery(s))
	}
	if i := strings.IndexByte(s, ':'); i < 0 || IsFile(s[:i]) {
		return strings.Cut(s, ":")
	}
	for end := len(s); end > 0; end = strings.LastIndexByte(s[:end], ':') {
		if IsFile(s[:end]) {
			name, hasName = strings.CutPrefix(s[end:], ":")
			return s[:end], name, hasName
		}
	}
	if runtime.GOOS == "windows" && len(s) > 2 && s[1] == ':' && (s[2] == '\\' || s[2] == '/') { // a drive
		rest, name, hasName := strings.Cut(s[2:], ":")
		return s[:2] + rest, name, hasName
	}
	return strings.Cut(s, ":")
}

// IsFile reports whether there is something else than a directory at a path.
func IsFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
