package printable_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/printable"
)

func TestString(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"docker.io/library/app:1": "docker.io/library/app:1",
		`C:\x1b 'quoted' "twice"`: `C:\x1b 'quoted' "twice"`,
		"größe 名前 é \ufffd":       "größe 名前 é \ufffd",
		"\x1b]0;title\a":          `\x1b]0;title\a`,
		"a\nb\tc\rd\x00":          `a\nb\tc\rd\x00`,
		"\x7f\u0085\u009b31m":     `\x7f\u0085\u009b31m`,
		"abc\u202edef\u2066":      `abc\u202edef\u2066`,
		"\u200b\u00a0\u2028":      `\u200b\u00a0\u2028`,
		"a\xff\x9bb\xe2\x80":      `a\xff\x9bb\xe2\x80`,
		"\U000e0041":              `\U000e0041`,
	} {
		got := printable.String(in)
		assert.Equal(t, want, got)
		assert.Equal(t, got, printable.String(got), "escaping twice")
	}
	assert.Equal(t, []string{"a", `\n`}, printable.Strings([]string{"a", "\n"}))
	assert.Equal(t, "a\n\tb\\r\\x1b", printable.Text("a\n\tb\r\x1b"))
}

func TestError(t *testing.T) {
	first, second := errors.New("first\n\x1b"), errors.New("second")
	both := errors.Join(first, second)
	for want, err := range map[string]error{
		`a\nb`:                          errors.New("a\nb"),
		`first\n\x1b` + "\nsecond":      both,
		`x\n: first\n\x1b` + "\nsecond": fmt.Errorf("x\n: %w", both),
		// A name that says the same as the error behind it is still a name.
		`first\n\x1b\nsecond: first\n\x1b` + "\nsecond":  fmt.Errorf("%s: %w", both, both),
		`second: first\n\x1b` + "\nsecond, \\n; second!": fmt.Errorf("second: %w, \n; %w!", both, second),
		`second`:                    errors.Join(second),
		`hidden\n`:                  silent{both},
		"a: EOF":                    fmt.Errorf("a: %w", io.EOF),
		`a: %!w(<nil>)`:             fmt.Errorf("a: %w", error(nil)),
		"outer: first\\n\\x1b\na\n": fmt.Errorf("outer: %w", errors.Join(first, errors.New("a"), errors.New(""))),
	} {
		assert.Equal(t, want, printable.Error(err))
	}
}

// silent wraps an error without saying so.
type silent struct{ error }

func (s silent) Error() string { return "hidden\n" }
func (s silent) Unwrap() error { return s.error }

func TestJSON(t *testing.T) {
	value := map[string]any{"a\u202e": "\x1b\n\x7f\u009b\U000e0041 名前 <é>", "b": []any{1.5, nil, "\u2066"}}
	data, err := json.MarshalIndent(value, "", "  ")
	require.NoError(t, err)
	escaped := printable.JSON(data)
	assert.Equal(t, string(escaped), printable.Text(string(escaped)))
	assert.Contains(t, string(escaped), "名前")
	var again map[string]any
	require.NoError(t, json.Unmarshal(escaped, &again))
	assert.Equal(t, value, again)
}

func TestWriter(t *testing.T) {
	var b bytes.Buffer
	n, err := printable.Writer{W: &b}.Write([]byte("Copying \x1b[1m\n"))
	require.NoError(t, err)
	assert.Equal(t, 13, n)
	assert.Equal(t, `Copying \x1b[1m`+"\n", b.String())
	r, w := io.Pipe()
	require.NoError(t, r.Close())
	n, err = printable.Writer{W: w}.Write([]byte("x"))
	assert.Zero(t, n)
	assert.ErrorIs(t, err, io.ErrClosedPipe)
}

// For any input, the output prints.
func FuzzString(f *testing.F) {
	f.Add("a\x1b\u202e\xff\n\U0010ffff")
	f.Fuzz(func(t *testing.T, s string) {
		got := printable.String(s)
		require.True(t, utf8.ValidString(got))
		require.Equal(t, -1, strings.IndexFunc(got, func(r rune) bool { return !strconv.IsPrint(r) }))
		require.Equal(t, got, printable.String(got))
		data, err := json.Marshal(s)
		require.NoError(t, err)
		var want, value string
		require.NoError(t, json.Unmarshal(data, &want))
		require.NoError(t, json.Unmarshal(printable.JSON(data), &value))
		require.Equal(t, want, value)
	})
}
