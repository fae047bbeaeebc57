package e2e_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// The debug level shows what happens to an archive; the levels above it show
// nothing.
func TestDebugLines(t *testing.T) {
	var b bytes.Buffer
	out, level := logrus.StandardLogger().Out, logrus.GetLevel()
	t.Cleanup(func() { logrus.SetOutput(out); logrus.SetLevel(level) })
	logrus.SetOutput(&b)

	copyTwice := func() {
		path := filepath.Join(t.TempDir(), "x.tar")
		w, err := dockerarchive.NewWriter(nil, path)
		require.NoError(t, err)
		for _, name := range []string{"example.com/a:1", "example.com/b:1"} {
			ref, err := w.NewReference(imagetest.Tagged(t, name))
			require.NoError(t, err)
			require.NoError(t, imagetest.Copy(t, ref, imagetest.Saved(t, "one"), imagetest.Sequentially()))
		}
		require.NoError(t, w.Close())
		r, err := dockerarchive.NewReader(nil, path)
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	logrus.SetLevel(logrus.InfoLevel)
	copyTwice()
	assert.NotContains(t, b.String(), "x.tar")

	b.Reset()
	logrus.SetLevel(logrus.DebugLevel)
	copyTwice()
	for _, want := range []string{"decompressing blob sha256:", "is there already", "linked ", "wrote manifest.json, ", "bytes, in its place", "is complete, 1 names", "x.tar holds 1 images"} {
		assert.Contains(t, b.String(), want)
	}
}
