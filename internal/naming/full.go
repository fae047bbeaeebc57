package naming

import "strings"

// SplitFull splits a name of the usual kind that is full, HOST/PATH:TAG, into repository and tag.
// Nothing is missing in such a name: github.com/distribution/reference takes it as it is, but with
// regular expressions, which is too slow for tables of contents with thousands of names. ok is
// false for all others, among them full ones with less usual characters.
func SplitFull(name string) (repository, tag string, ok bool) {
	const longest = 255 // The path alone may have so many characters.
	slash := strings.IndexByte(name, '/')
	colon := strings.LastIndexByte(name, ':')
	if slash < 0 || colon < slash || len(name) > longest {
		return "", "", false
	}
	host, path, tag := name[:slash], name[slash+1:colon], name[colon+1:]
	if !isHost(host) || !isPath(path) || !isSimpleTag(tag) {
		return "", "", false
	}
	if host == "index.docker.io" || host == "docker.io" && strings.IndexByte(path, '/') < 0 { // The full form is another one.
		return "", "", false
	}
	return name[:colon], tag, true
}

// isHost reports whether s is a domain in lower case with a dot in it, perhaps with a port.
func isHost(s string) bool {
	domain, port, hasPort := strings.Cut(s, ":")
	if hasPort && (port == "" || strings.Trim(port, "0123456789") != "") {
		return false
	}
	return strings.IndexByte(domain, '.') >= 0 && areWords(domain, ".-")
}

// isPath reports whether s consists of parts with single dots, dashes and underscores.
func isPath(s string) bool { return areWords(s, "/._-") }

// areWords reports whether s consists of lower case letters and digits with one of the
// separators between any two words.
func areWords(s, separators string) bool {
	separated := true
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			separated = false
		case separated || strings.IndexByte(separators, c) < 0:
			return false
		default:
			separated = true
		}
	}
	return !separated
}

// isSimpleTag is IsTag, without a regular expression.
func isSimpleTag(s string) bool {
	for i := range len(s) {
		c := s[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if !word && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxTag
}
