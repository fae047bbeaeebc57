package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/storetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Every command that writes to a bucket trusts the certificates that it is given, or verifies none if it is told so,
// and else refuses a store with an unknown one.
func TestWriteBucketTLS(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one.tar"), filepath.Join(dir, "two.tar")
	saved(t, one, "1", imagetest.Gzip(1, 1000))
	saved(t, two, "2", imagetest.Gzip(2, 1000))
	old, err := os.ReadFile(one)
	require.NoError(t, err)
	s := storetest.NewS3TLS(t)
	for _, line := range []string{
		"save -q -o s3://images/new.tar " + one,
		"save -q --resume -o s3://images/new.tar " + one,
		"save -q --force -o s3://images/old.tar " + two,
		"make -q --base image-archive:" + one + " --env A=1 -t app -o s3://images/new.tar",
		"copy -q image-archive:" + one + " image-archive:s3://images/new.tar:app:1",
		"copy -q image-archive:" + two + " image-archive:s3://images/old.tar:app:2",
		"add -q s3://images/old.tar " + two,
		"tag -q s3://images/old.tar example.com/app:1 example.com/app:3",
		"rename -q s3://images/old.tar example.com/app:1 example.com/app:3",
		"remove -q s3://images/old.tar example.com/app:3",
		"compact -q s3://images/old.tar",
	} {
		prefix := ""
		if strings.HasPrefix(line, "copy") {
			prefix = "dest-"
		}
		for _, flags := range [][]string{{}, {prefix + "cert-dir=" + s.CertDir}, {prefix + "tls-verify=false"}} {
			s.Delete("new.tar")
			s.Put("old.tar", old)
			if strings.HasPrefix(line, "remove") {
				must(t, "tag", "-q", "--cert-dir", s.CertDir, "s3://images/old.tar", "example.com/app:1", "example.com/app:3")
			}
			args := append([]string{"--insecure-policy"}, strings.Fields(line)...)
			_, errOut, status := runCommand(t, withFlags("", flags, args...)...)
			if len(flags) > 0 {
				assert.Zero(t, status, "%v: %s", args, errOut)
				continue
			}
			assert.Equal(t, exitFailure, status, args)
			assert.Contains(t, errOut, "certificate signed by unknown authority", args)
		}
	}
}
