package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// A source is a commit of the repository.
type source struct {
	repository string
	commit     string
	time       time.Time // of the commit, in UTC
	tag        string    // v1.2.3, or Go's pseudo-version of a commit without a tag
}

// version is the tag without its v.
func (s source) version() string { return strings.TrimPrefix(s.tag, "v") }

// sourceOf returns the commit that is checked out. The work tree must be clean.
func sourceOf(ctx context.Context, repository string) (source, error) {
	repository, err := filepath.Abs(repository)
	if err != nil {
		return source{}, err
	}
	changes, err := output(ctx, repository, nil, "git", "status", "--porcelain")
	if err != nil {
		return source{}, err
	}
	if changes != "" {
		return source{}, fmt.Errorf("a release is made of a commit, and these files are not committed:\n%s", changes)
	}
	head, err := output(ctx, repository, nil, "git", "log", "-1", "--format=%H %ct")
	if err != nil {
		return source{}, err
	}
	commit, seconds, _ := strings.Cut(head, " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return source{}, fmt.Errorf("the time of commit %s: %w", commit, err)
	}
	s := source{repository: repository, commit: commit, time: time.Unix(unix, 0).UTC()}
	described, err := output(ctx, repository, nil, "git", "describe", "--tags", "--match", "v[0-9]*", "--long", "--abbrev=40")
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		described = "" // There is no tag yet, or this clone has none.
	case err != nil:
		return source{}, err
	}
	s.tag, err = s.named(described)
	return s, err
}

// named returns the version of a commit that git describes as TAG-COMMITS-gCOMMIT: the tag if
// there are no commits behind it, or a pseudo-version, as go install writes it.
func (s source) named(described string) (string, error) {
	rev := s.commit[:12]
	if described == "" {
		return module.PseudoVersion("v0", "", s.time, rev), nil
	}
	before, _, _ := cutLast(described, "-g")
	tag, commits, ok := cutLast(before, "-")
	if !ok || semver.Canonical(tag) != tag {
		return "", fmt.Errorf("%s is described as %s, whose tag is no version such as v1.2.3", s.commit, described)
	}
	if commits == "0" {
		return tag, nil
	}
	return module.PseudoVersion(semver.Major(tag), tag, s.time, rev), nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// output runs a program and returns its output. Its errors go to standard error.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), env...), os.Stderr
	if name == "git" {
		cmd.Stderr = nil // It is in the error.
	}
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
