package archive_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A name that docker load takes for none, and then refuses the archive, is a problem.
func TestVerifySaysNamesThatDockerRefuses(t *testing.T) {
	p := partsOf(t, "one")
	for name, refused := range map[string]bool{
		"app:1": false, "h.example:5000/a/b:V1": false, "app@" + p.diffIDs[0].String(): true,
		"app": true, "App:1": true, "": true, "a\x1b:1": true,
	} {
		b := newTarball(t).file("a.json", p.config)
		var layers []string
		for i, c := range p.content {
			layer := p.diffIDs[i].Encoded() + ".tar"
			b.file(layer, c)
			layers = append(layers, layer)
		}
		a := open(t, b.json("manifest.json", []item{{"a.json", []string{name}, layers}}).close())
		report, err := a.Verify(t.Context(), nil)
		require.NoError(t, err)
		if !refused {
			assert.Empty(t, report.Problems, name)
			continue
		}
		require.Len(t, report.Problems, 1, name)
		assert.ErrorContains(t, report.Problems[0], "is not of the form NAME:TAG")
		assert.NotContains(t, report.Problems[0].Error(), "\x1b")
	}
}
