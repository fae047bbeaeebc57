// Package printable makes strings of others safe to show: names, tags and documents
// of archives, and answers of registries. On a terminal they could move the cursor,
// set the window's title or turn the line around, and anywhere else pretend to be
// lines of this program's own.
//
// Printing characters, in the sense of strconv.IsPrint, stay as they are;
// everything else is shown as Go writes it: control characters, line breaks and
// tabs included, the characters that change the direction of text, and bytes that
// are not UTF-8. Escaping an escaped string does not change it. The package knows
// nothing of where strings come from.
package printable

import (
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// String returns a value with everything escaped that does not print. It has no
// line breaks.
func String(s string) string { return escape(s, "") }

// Strings is String for each of several values.
func Strings(all []string) []string {
	escaped := make([]string, len(all))
	for i, s := range all {
		escaped[i] = String(s)
	}
	return escaped
}

// Text is String for text with several lines and columns: line feeds and tabs are
// kept.
func Text(s string) string { return escape(s, "\n\t") }

func escape(s, kept string) string {
	printing := func(r rune, size int) bool {
		return strings.ContainsRune(kept, r) || strconv.IsPrint(r) && (r != utf8.RuneError || size > 1)
	}
	var b strings.Builder
	start := 0 // of printing characters that are not in b yet
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if !printing(r, size) {
			quoted := strconv.Quote(s[i : i+size])
			b.WriteString(s[start:i])
			b.WriteString(quoted[1 : len(quoted)-1])
			start = i + size
		}
		i += size
	}
	if start == 0 {
		return s
	}
	b.WriteString(s[start:])
	return b.String()
}

// Error returns the text of an error, escaped like a String. Only the line breaks
// by which errors.Join sets errors apart are kept.
func Error(err error) string {
	text := err.Error()
	within := unwrap(err)
	if len(within) > 1 && text == joined(within, error.Error) {
		return joined(within, Error)
	}
	// Wrapped errors usually come last, behind names that may have the same text.
	tail := ""
	for i := len(within) - 1; i >= 0; i-- {
		inner := within[i].Error()
		if at := strings.LastIndex(text, inner); at >= 0 {
			tail = Error(within[i]) + String(text[at+len(inner):]) + tail
			text = text[:at]
		}
	}
	return String(text) + tail
}

// unwrap returns the errors that an error says it wraps.
func unwrap(err error) []error {
	var all []error
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		all = []error{err.Unwrap()}
	case interface{ Unwrap() []error }:
		all = err.Unwrap()
	}
	var some []error
	for _, err := range all {
		if err != nil {
			some = append(some, err)
		}
	}
	return some
}

func joined(errs []error, say func(error) string) string {
	said := make([]string, len(errs))
	for i, err := range errs {
		said[i] = say(err)
	}
	return strings.Join(said, "\n")
}

// JSON returns a JSON document of the same value in which every character that does
// not print is written as \uXXXX. The bytes between the strings stay as they are.
func JSON(data []byte) []byte {
	var b []byte
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r < ' ' || strconv.IsPrint(r): // In a string, those before the space are escaped already.
			b = append(b, data[i:i+size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = appendHex(appendHex(b, high), low)
		default:
			b = appendHex(b, r)
		}
		i += size
	}
	return b
}

func appendHex(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&0xf], digits[r>>8&0xf], digits[r>>4&0xf], digits[r&0xf])
}

// Writer writes the output of others to W, as Text. It takes every Write for a
// whole number of characters, and is as safe for concurrent use as W.
type Writer struct{ W io.Writer }

// Write writes p to W. The count is that of p, or 0 if W fails.
func (w Writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.W, Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
