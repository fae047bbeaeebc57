package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const source = `package x

import "errors"

var errX = errors.New("x")

func f(a, b int, on bool) (int, error) {
	if a < b && on {
		a++
		g()
	}
	for {
		switch a {
		case 0, b:
			break
		}
		if on {
			return a + 2, errX
		}
	}
}

func g() {}
`

func TestMutants(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.go")
	require.NoError(t, os.WriteFile(path, []byte(source), 0o600))
	mutants, err := mutantsOf(path)
	require.NoError(t, err)
	var got []string
	for _, m := range mutants {
		got = append(got, m.what)
		assert.NotEqual(t, source, string(m.source()))
		_, err := parser.ParseFile(token.NewFileSet(), "", m.source(), 0)
		assert.NoError(t, err, m.what)
	}
	assert.ElementsMatch(t, []string{
		"a < b with <=", "a < b with >=", "a < b without && on", "on without a < b &&", "if not a < b && on",
		"without a++", "without g()", "0 is 1", "case without 0", "break is continue", "if not on",
		"a + 2 with -", "2 is 3", "2 is 1", "return nil instead of errX",
	}, got)
}

func TestCoverage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cover")
	require.NoError(t, os.WriteFile(path, []byte("mode: set\na/b/x.go:3.10,5.2 2 1\na/b/x.go:7.1,7.9 1 0\n"), 0o600))
	c, err := readCoverage(path)
	require.NoError(t, err)
	for at, want := range map[[2]int]bool{{3, 9}: true, {4, 1}: true, {7, 1}: false, {7, 8}: false, {7, 9}: true, {9, 1}: true} {
		assert.Equal(t, want, c.has("a/b", mutant{file: "/src/b/x.go", line: at[0], col: at[1]}), at)
	}
	assert.True(t, c.has("a/c", mutant{file: "/src/c/x.go", line: 7, col: 2}))
	require.NoError(t, os.WriteFile(path, []byte("mode: set\nnonsense\n"), 0o600))
	_, err = readCoverage(path)
	require.Error(t, err)
}
