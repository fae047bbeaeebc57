package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// An installed file is one of a package. Formats that have other places for it, or no place, are
// named in only.
type installed struct {
	from string // in d.extra; "" for other content
	to   string
	only string
}

// places are the places of the command's other files in packages. The second part of a name is
// that of a format.
var places = []installed{
	{"completions/" + completions["bash"], "/usr/share/bash-completion/completions/" + command, ""},
	{"completions/" + completions["zsh"], "/usr/share/zsh/vendor-completions/_" + command, "deb"},
	{"completions/" + completions["zsh"], "/usr/share/zsh/site-functions/_" + command, "rpm"},
	{"completions/" + completions["zsh"], "/usr/share/zsh/site-functions/_" + command, "apk"},
	{"completions/" + completions["fish"], "/usr/share/fish/vendor_completions.d/" + command + ".fish", ""},
	{"LICENSE", "/usr/share/doc/" + command + "/copyright", "deb"},
	{"LICENSE", "/usr/share/licenses/" + command + "/LICENSE", "rpm"},
	{"LICENSE", "/usr/share/licenses/" + command + "/LICENSE", "apk"},
	{"CHANGELOG.md", "/usr/share/doc/" + command + "/CHANGELOG.md", ""},
}

// packages writes a .deb, a .rpm and a .apk of a build for Linux.
func (d *dist) packages(b build) error {
	if b.os != "linux" {
		return nil
	}
	stage := filepath.Join(d.work, "stage", b.name())
	contents, err := d.contents(b, stage)
	if err != nil {
		return err
	}
	for _, format := range []string{"deb", "rpm", "apk"} {
		packager, err := nfpm.Get(format)
		if err != nil {
			return err
		}
		info := d.info(b, contents)
		name := packager.ConventionalFileName(info)
		if err := d.write(name, func(w io.Writer) error { return packager.Package(info, w) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *dist) info(b build, contents files.Contents) *nfpm.Info {
	info := &nfpm.Info{
		Name: command, Arch: b.arch + strings.TrimPrefix(b.variant, "v"), Platform: b.os,
		Version: d.tag, Release: "1", MTime: d.time, Section: "utils", Priority: "optional",
		Maintainer: "The dockerarchive maintainers", Vendor: "dockerarchive", Homepage: home, License: license,
		Description:     title + "\nWrites, reads and changes the tar files of docker save, podman save and skopeo,\nand brings them into registries, docker, podman and containerd.",
		DisableGlobbing: true,
	}
	info.Recommends = []string{"ca-certificates"}
	info.RPM.BuildHost, info.RPM.Summary = "localhost", title
	for _, c := range contents {
		copied := *c // Each packager completes them in its own way.
		info.Contents = append(info.Contents, &copied)
	}
	return nfpm.WithDefaults(info)
}

// contents returns the files of packages, and writes those that are not there yet to a folder.
func (d *dist) contents(b build, stage string) (files.Contents, error) {
	if err := os.MkdirAll(stage, 0o755); err != nil {
		return nil, err
	}
	var contents files.Contents
	info := func(mode os.FileMode) *files.ContentFileInfo {
		return &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: d.time}
	}
	add := func(content []byte, to, only string) error {
		from := filepath.Join(stage, strings.ReplaceAll(to, "/", "_"))
		contents = append(contents, &files.Content{Source: from, Destination: to, Packager: only, FileInfo: info(0o644)})
		return os.WriteFile(from, content, 0o644)
	}
	contents = append(contents,
		&files.Content{Source: b.binary, Destination: "/usr/bin/" + command, FileInfo: info(0o755)},
		&files.Content{Source: "/usr/bin/" + command, Destination: "/usr/libexec/docker/cli-plugins/" + command, Type: files.TypeSymlink, FileInfo: info(0o777)},
	)
	for _, f := range d.extra {
		if strings.HasPrefix(f.name, "man/") {
			packed, err := gzipped(f.content)
			if err != nil {
				return nil, err
			}
			if err := add(packed, "/usr/share/"+f.name+".gz", ""); err != nil {
				return nil, err
			}
		}
		for _, place := range places {
			if place.from != f.name {
				continue
			}
			if err := add(f.content, place.to, place.only); err != nil {
				return nil, err
			}
		}
	}
	return contents, add(b.notices, "/usr/share/doc/"+command+"/NOTICES", "")
}

func gzipped(content []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}
