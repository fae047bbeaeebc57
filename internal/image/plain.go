package image

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// plain reads a JSON document in the form in which programs write it: without spaces and escapes,
// each field once and called exactly as it should be. Its methods report whether they could; if
// not, the place in the document is undefined. What they read is what encoding/json reads, but
// for the digests, which are checked as well.
type plain struct {
	data string
	at   int
}

// skip goes over a byte.
func (p *plain) skip(c byte) bool {
	if p.at < len(p.data) && p.data[p.at] == c {
		p.at++
		return true
	}
	return false
}

// null goes over a null.
func (p *plain) null() bool {
	ok := strings.HasPrefix(p.data[p.at:], "null")
	if ok {
		p.at += len("null")
	}
	return ok
}

// object reads an object. field reads the value of a field; it is called once for a name.
func (p *plain) object(field func(name string) bool) bool {
	const most = 16
	var names [most]string
	n := 0
	return readMap(p, func(name string) bool {
		if n == most || slices.Contains(names[:n], name) {
			return false
		}
		names[n] = name
		n++
		return field(name)
	})
}

// readMap reads an object of any number of fields. value reads the value of one, and of several
// with the same key the last one counts.
func readMap[K ~string](p *plain, value func(key K) bool) bool {
	if !p.skip('{') {
		return false
	}
	if p.skip('}') {
		return true
	}
	for {
		var key K
		if !readText(p, &key) || !p.skip(':') || !value(key) {
			return false
		}
		if !p.skip(',') {
			return p.skip('}')
		}
	}
}

// array reads an array, whose elements element reads.
func (p *plain) array(element func() bool) bool {
	if !p.skip('[') {
		return false
	}
	if p.skip(']') {
		return true
	}
	for {
		if !element() {
			return false
		}
		if !p.skip(',') {
			return p.skip(']')
		}
	}
}

// unusual are the bytes of a string that it is not sure to be written with again: those with
// escapes, and those that have some in other programs.
var unusual = func() (table [256]bool) {
	for c := range table {
		table[c] = c < ' ' || c >= 0x7f || strings.IndexByte(`"\<>&`, byte(c)) >= 0
	}
	return table
}()

// readText reads a string of printable ASCII without escapes.
func readText[T ~string](p *plain, to *T) bool {
	if !p.skip('"') {
		return false
	}
	start := p.at
	for p.at < len(p.data) && !unusual[p.data[p.at]] {
		p.at++
	}
	*to = T(p.data[start:p.at])
	return p.skip('"')
}

// digest reads a digest.
func (p *plain) digest(to *digest.Digest) bool {
	return readText(p, to) && checkDigest(to.String()) == nil
}

// texts reads an array of strings, or null.
func (p *plain) texts(to *[]string) bool {
	*to = nil
	if p.null() {
		return true
	}
	*to = []string{}
	return p.array(func() bool {
		var s string
		ok := readText(p, &s)
		*to = append(*to, s)
		return ok
	})
}

// textMap reads an object of strings.
func (p *plain) textMap(to *map[string]string) bool {
	texts := map[string]string{}
	*to = texts
	return readMap(p, func(key string) bool {
		var s string
		ok := readText(p, &s)
		texts[key] = s
		return ok
	})
}

// number reads a number that is not negative.
func (p *plain) number(to *int64) bool {
	const most = 18 // digits, which fit
	start := p.at
	n := int64(0)
	for p.at < len(p.data) && p.data[p.at] >= '0' && p.data[p.at] <= '9' && p.at-start < most {
		n = n*10 + int64(p.data[p.at]-'0')
		p.at++
	}
	*to = n
	digits := p.at - start
	return digits == 1 || digits > 1 && p.data[start] != '0'
}

// pass goes to the end of a value, if it is a valid one.
func (p *plain) pass() {
	for depth := 0; p.at < len(p.data); p.at++ {
		switch p.data[p.at] {
		case '"':
			for p.at++; p.at < len(p.data) && p.data[p.at] != '"'; p.at++ {
				if p.data[p.at] == '\\' {
					p.at++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return
			}
			depth--
		case ',':
			if depth == 0 {
				return
			}
		}
	}
	p.at = len(p.data)
}

// AppendText appends a string as encoding/json writes it.
func AppendText(b []byte, s string) []byte {
	for i := range len(s) {
		if unusual[s[i]] {
			text, _ := json.Marshal(s) // A string always has a JSON.
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
