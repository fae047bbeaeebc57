package main

import (
	"encoding/json"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVersion(t *testing.T) {
	flag, _ := succeeds(t, "--version")
	called, _ := succeeds(t, "version")
	assert.Equal(t, flag, called)
}

func TestVersionAsJSON(t *testing.T) {
	setLinked(t, "v1.2.3", "4f0c", "2026-11-30T08:00:00Z")
	out, _ := succeeds(t, "version", "--json")
	var told map[string]string
	require.NoError(t, json.Unmarshal([]byte(out), &told))
	assert.Equal(t, map[string]string{
		"version": "v1.2.3", "commit": "4f0c", "date": "2026-11-30T08:00:00Z",
		"goVersion": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
	}, told)
	line, _ := succeeds(t, "version")
	assert.Equal(t, "docker-archive version v1.2.3\n", line)
}

// A build of source without a tag names its commit.
func TestVersionWithoutTag(t *testing.T) {
	setLinked(t, "", "4f0c", "")
	line, _ := succeeds(t, "version")
	assert.Equal(t, "docker-archive version (devel) 4f0c\n", line)
}

func setLinked(t *testing.T, version, commit, date string) {
	before := [...]string{linkedVersion, linkedCommit, linkedDate}
	linkedVersion, linkedCommit, linkedDate = version, commit, date
	t.Cleanup(func() { linkedVersion, linkedCommit, linkedDate = before[0], before[1], before[2] })
}
