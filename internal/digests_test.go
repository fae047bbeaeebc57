package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// decoders are files that decode JSON of others without image.Decode although they handle
// digests, and why they may.
var decoders = map[string]string{
	"internal/image/decode.go":                     "is image.Decode",
	"internal/layout/kept.go":                      "a part of image.Decode, or fields that are written again as they are",
	"internal/image/image.go":                      "fields of a platform, which has no digests",
	"internal/catalog/legacy.go":                   "a map of raw fields",
	"internal/catalog/oci.go":                      "one string, for image.ParseLeftOut",
	"internal/loadable/unambiguous.go":             "keys only",
	"internal/parts/list.go":                       "every digest is checked by List.check; parts know no images",
	"internal/writing/partial.go":                  "every digest is checked behind it; one that is bad is passed over",
	"internal/daemon/daemon.go":                    "answers of a daemon that the user trusts, whose IDs are checked where they are used",
	"internal/daemon/load.go":                      "as daemon.go",
	"internal/daemon/host.go":                      "Docker's own configuration on this machine",
	"compose/base.go":                              "annotations only",
	"compose/history.go":                           "steps of a history, which have no digests",
	"compose/config.go":                            "fields without digests",
	"legacy_metadata.go":                           "a map of raw fields",
	"podman/legacy_metadata.go":                    "a map of raw fields",
	"podman/copying/internal/selecting/index.go":   "raw fields; descriptors by image.Decode",
	"podman/copying/internal/selecting/without.go": "every digest is checked by addManifest",
	"podman/cmd/docker-archive/make_config.go":     "the words of a flag",
	"release/dist/image.go":                        "a directory that the release has written",
	"podman/making/container/container.go":         "what this machine's own storage says of a container",
	"internal/imagediff/imagediff.go":              "the fields of a config, checked before, as values of any kind",
}

// TestDigestsAreParsed holds the code against one rule: a string from outside becomes a
// digest.Digest in digest.Parse, image.ParseDigest or image.Decode and nowhere else, because the methods of
// one that is none panic.
func TestDigestsAreParsed(t *testing.T) {
	used := map[string]bool{}
	root := ".."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		if entry.IsDir() {
			if slices.Contains([]string{"bench", "interop", "tools", "testdata", ".git", "podman/internal", "internal/imagetest", "internal/fronttest"}, name) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		require.NoError(t, err)
		handlesDigests := false
		for _, i := range file.Imports {
			handlesDigests = handlesDigests || strings.Contains(i.Path.Value, "opencontainers/") || strings.Contains(i.Path.Value, "internal/image\"")
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch called := selector(call.Fun); called {
			case "digest.Digest", "digest.NewDigestFromEncoded", "digest.NewDigestFromHex", "digest.NewDigestFromBytes":
				if _, constant := call.Args[0].(*ast.BasicLit); !constant && name != "internal/image/digests.go" {
					assert.Fail(t, "a digest that is not parsed", "%s: use digest.Parse instead of %s", files.Position(call.Pos()), called)
				}
			case "json.Unmarshal", "json.NewDecoder":
				if handlesDigests && decoders[name] == "" {
					assert.Fail(t, "digests that are not checked", "%s: use image.Decode, or say in decoders why %s will do", files.Position(call.Pos()), called)
				}
				used[name] = true
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
	for name := range decoders {
		assert.True(t, used[name], "%s decodes nothing any more", name)
	}
}

// selector returns X.Sel of an expression, "" if it is something else.
func selector(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + s.Sel.Name
}
