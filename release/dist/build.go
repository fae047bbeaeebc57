package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const (
	command = "docker-archive"
	title   = "Carry container images as files"
	home    = "https://github.com/dockerarchive/dockerarchive"
	license = "Apache-2.0"

	// As in the Makefile.
	tags = "containers_image_openpgp,exclude_graphdriver_btrfs,grpcnotrace"
)

// A platform is a target of the command's builds.
type platform struct{ os, arch, variant string }

var platforms = []platform{
	{"linux", "amd64", ""}, {"linux", "arm64", ""}, {"linux", "arm", "v7"},
	{"linux", "ppc64le", ""}, {"linux", "s390x", ""}, {"linux", "riscv64", ""},
	{"darwin", "amd64", ""}, {"darwin", "arm64", ""},
	{"windows", "amd64", ""}, {"windows", "arm64", ""},
}

// String returns the platform as Go and OCI write it: linux/arm/v7.
func (p platform) String() string { return strings.TrimSuffix(p.os+"/"+p.arch+"/"+p.variant, "/") }

// name is the platform in the name of a file: linux_armv7.
func (p platform) name() string { return p.os + "_" + p.arch + p.variant }

func (p platform) suffix() string {
	if p.os == "windows" {
		return ".exe"
	}
	return ""
}

// environment has Go build for the platform and nothing else: settings of the user, and all
// others that change the bytes, get their default values.
func (p platform) environment() []string {
	return []string{
		"GOOS=" + p.os, "GOARCH=" + p.arch, "GOARM=7", "GOAMD64=v1", "GOARM64=v8.0", "GOPPC64=power8", "GORISCV64=rva20u64",
		"CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off", "GODEBUG=",
	}
}

// choose returns the platforms of a list, or all.
func choose(only string) ([]platform, error) {
	if only == "" {
		return platforms, nil
	}
	var chosen []platform
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(platforms, func(p platform) bool { return p.os+"/"+p.arch == name })
		if i < 0 {
			return nil, fmt.Errorf("%q is not one of the platforms %v", name, platforms)
		}
		chosen = append(chosen, platforms[i])
	}
	return chosen, nil
}

// module is the folder of the module that has the command.
func (d *dist) module() string { return filepath.Join(d.repository, "podman") }

// compile builds the command for a platform, with more tags.
func (d *dist) compile(ctx context.Context, p platform, to string, more ...string) error {
	linker := fmt.Sprintf("-s -w -buildid= -X main.linkedVersion=%s -X main.linkedCommit=%s -X main.linkedDate=%s",
		d.tag, d.commit, d.time.Format("2006-01-02T15:04:05Z"))
	_, err := output(ctx, d.module(), p.environment(), "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-tags", strings.Join(append(more, tags), ","),
		"-ldflags", linker, "-o", to, "./cmd/"+command)
	return err
}

// A file is one that comes with the command. Its content is at a path, or in memory.
type file struct {
	name    string // with slashes
	content []byte
}

// common makes the files that all platforms share, with the command built for this machine, and
// with what writes manual pages. The text of manual pages and completions is the same everywhere.
func (d *dist) common(ctx context.Context) error {
	here := platform{os: runtime.GOOS, arch: runtime.GOARCH}
	d.host = filepath.Join(d.work, "host", command+here.suffix())
	if err := d.compile(ctx, here, d.host, "man"); err != nil {
		return err
	}
	for _, name := range []string{"LICENSE", "CHANGELOG.md"} {
		content, err := os.ReadFile(filepath.Join(d.repository, name))
		if err != nil {
			return err
		}
		d.extra = append(d.extra, file{name, content})
	}
	for shell, name := range completions {
		out, err := d.runs(ctx, "completion", shell)
		if err != nil {
			return err
		}
		d.extra = append(d.extra, file{"completions/" + name, []byte(out + "\n")})
	}
	pages := filepath.Join(d.work, "man")
	if _, err := d.runs(ctx, "man", pages); err != nil {
		return err
	}
	entries, err := os.ReadDir(pages)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(pages, entry.Name()))
		if err != nil {
			return err
		}
		d.extra = append(d.extra, file{"man/man1/" + entry.Name(), content})
	}
	slices.SortFunc(d.extra, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return nil
}

// completions are the names of the files that shells look for, but for those of PowerShell,
// which its users load themselves.
var completions = map[string]string{
	"bash": command + ".bash", "zsh": "_" + command, "fish": command + ".fish", "powershell": command + ".ps1",
}

// runs runs the command without anything of this machine's environment, which some defaults in
// its help come from.
func (d *dist) runs(ctx context.Context, args ...string) (string, error) {
	bare := []string{"HOME=/nonexistent", "TMPDIR=", "XDG_RUNTIME_DIR=", "XDG_CONFIG_HOME=", "REGISTRY_AUTH_FILE=", "CONTAINERS_REGISTRIES_CONF="}
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "DOCKER_") || strings.HasPrefix(name, "CONTAINERD_") {
			bare = append(bare, name+"=")
		}
	}
	return output(ctx, d.work, bare, d.host, args...)
}
