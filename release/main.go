// Command release tags a release of both modules.
//
//	cd release && go run . v1.2.3
//
// The module in the root is tagged v1.2.3 where HEAD stands. The module podman needs the
// root's code beside it while it is written, and that very version of it when it is released:
// so its tag, podman/v1.2.3, is on a commit of its own behind HEAD, which changes only
// podman/go.mod (no replace, the root's version) and podman/go.sum (its hashes). No branch
// moves. Push the two tags to publish:
//
//	git push origin v1.2.3 podman/v1.2.3
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/zip"
)

const (
	rootModule = "github.com/dockerarchive/dockerarchive"
	podman     = "podman" // the folder of the other module, and the prefix or suffix of its path and its tags
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run . VERSION")
		os.Exit(2)
	}
	if err := release("..", os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

// release tags the HEAD of the repository as a version of both modules.
func release(repository, version string) error {
	if semver.Canonical(version) != version || semver.Build(version) != "" {
		return fmt.Errorf("%s is not a version such as v1.2.3", version)
	}
	g := git{dir: repository}
	if changes, err := g.run("", "status", "--porcelain"); err != nil || changes != "" {
		return fmt.Errorf("%s has changes that are not committed: %s (%w)", repository, changes, err)
	}
	head, err := g.run("", "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	sums, err := rootSums(repository, head, version)
	if err != nil {
		return fmt.Errorf("hashing %s %s: %w", rootModule, version, err)
	}
	commit, err := g.podmanCommit(head, version, sums)
	if err != nil {
		return fmt.Errorf("making the commit of module podman: %w", err)
	}
	for tag, at := range map[string]string{version: head, podman + "/" + version: commit} {
		if _, err := g.run("", "tag", "-a", "-m", tag, tag, at); err != nil {
			return err
		}
	}
	fmt.Printf("tagged %s and %s/%s\npublish: git push origin %[1]s %[2]s/%[3]s\n", version, podman, version)
	return nil
}

// rootSums returns the lines of a go.sum for the root module as it is at a commit.
func rootSums(repository, commit, version string) (string, error) {
	f, err := os.CreateTemp("", "root-*.zip")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := zip.CreateFromVCS(f, module.Version{Path: rootModule, Version: version}, repository, commit, ""); err != nil {
		return "", err
	}
	content, err := dirhash.HashZip(f.Name(), dirhash.Hash1)
	if err != nil {
		return "", err
	}
	goMod, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return os.Open(filepath.Join(repository, "go.mod"))
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %s %s\n%[1]s %[2]s/go.mod %[4]s\n", rootModule, version, content, goMod), nil
}

// A git is a repository that is asked by the command git.
type git struct {
	dir string
	env []string
}

func (g git) run(input string, args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", g.dir}, args...)...)
	cmd.Env = append(os.Environ(), g.env...)
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// podmanCommit makes the commit of module podman behind head, with an index of its own, so
// that neither the work tree nor a branch changes.
func (g git) podmanCommit(head, version, sums string) (string, error) {
	dir, err := os.MkdirTemp("", "release-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	g.env = append(g.env, "GIT_INDEX_FILE="+filepath.Join(dir, "index"))
	if _, err := g.run("", "read-tree", head); err != nil {
		return "", err
	}
	change := func(file string, edit func(string) (string, error)) error {
		content, err := os.ReadFile(filepath.Join(g.dir, podman, file))
		if err != nil {
			return err
		}
		edited, err := edit(string(content))
		if err != nil {
			return err
		}
		blob, err := g.run(edited, "hash-object", "-w", "--stdin")
		if err != nil {
			return err
		}
		_, err = g.run("", "update-index", "--cacheinfo", "100644,"+blob+","+podman+"/"+file)
		return err
	}
	if err := change("go.mod", func(old string) (string, error) { return releasedMod(old, version) }); err != nil {
		return "", err
	}
	if err := change("go.sum", func(old string) (string, error) { return sums + old, nil }); err != nil {
		return "", err
	}
	tree, err := g.run("", "write-tree")
	if err != nil {
		return "", err
	}
	return g.run("", "commit-tree", tree, "-p", head, "-m", podman+": require "+rootModule+" "+version)
}

// releasedMod returns podman's go.mod with a version of the root in the place of its folder.
func releasedMod(old, version string) (string, error) {
	f, err := modfile.Parse("go.mod", []byte(old), nil)
	if err != nil {
		return "", err
	}
	if err := f.DropReplace(rootModule, ""); err != nil {
		return "", err
	}
	if err := f.AddRequire(rootModule, version); err != nil {
		return "", err
	}
	f.Cleanup()
	out, err := f.Format()
	return string(out), err
}
