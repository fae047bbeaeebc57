package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// layerFlags are the flags of make that say which files the image has.
type layerFlags struct {
	steps       []step
	exclude     []string
	chown       string
	chmod       string
	uidMap      []string
	gidMap      []string
	stripSetID  bool
	stripXattrs bool
}

// step is a flag that changes files. Their order matters, across all flags.
type step struct{ flag, value string }

// stepFlag is one of those flags. It implements pflag.Value.
type stepFlag struct {
	flag, form string
	steps      *[]step
}

// Set appends a step.
func (f stepFlag) Set(value string) error {
	if value == "" {
		return errors.New("it is empty")
	}
	*f.steps = append(*f.steps, step{f.flag, value})
	return nil
}

// String is for the help, which shows no default.
func (f stepFlag) String() string { return "" }

// Type is for the help.
func (f stepFlag) Type() string { return f.form }

func (l *layerFlags) register(f *pflag.FlagSet) {
	for _, s := range []struct{ flag, form, usage string }{
		{"layer", "FILE|DIR[:/PATH]", "add a layer: a tar as it is, or a directory's contents"},
		{"add", "SRC:DST", "put a file or a directory's contents to DST, for root"},
		{"remove", "PATH", "remove a path"},
		{"opaque", "PATH", "empty a directory of the base or of layers before"},
		{"diff", "OLD:NEW", "add a layer: what turns directory OLD into NEW"},
		{"rootfs", "DIR", "add a layer: what turns the base's files into DIR"},
	} {
		f.Var(stepFlag{s.flag, s.form, &l.steps}, s.flag, s.usage+"; repeatable")
	}
	f.StringArrayVar(&l.exclude, "exclude", nil, "leave out files of directories by .dockerignore `PATTERN`; repeatable")
	f.StringVar(&l.chown, "chown", "", "owner `UID[:GID]` of new files, or keep (default keep; 0:0 for --add)")
	f.StringVar(&l.chmod, "chmod", "", "octal `MODE` of files of --add, directories excepted")
	f.StringArrayVar(&l.uidMap, "uid-map", nil, "map users of files by `IMAGE:HOST:SIZE`; repeatable")
	f.StringArrayVar(&l.gidMap, "gid-map", nil, "map groups of files by `IMAGE:HOST:SIZE`; repeatable")
	f.BoolVar(&l.stripSetID, "strip-setid", false, "remove setuid and setgid from new files, with --squash from all")
	f.BoolVar(&l.stripXattrs, "strip-xattrs", false, "remove extended attributes of new files, with --squash of all")
}

// layers returns the layers that the flags make, and the rewriting for the files of
// a squashed one.
func (l *layerFlags) layers(stdin io.Reader, stderr io.Writer, quiet bool) ([]compose.Layer, compose.Rewriting, error) {
	squash := compose.Rewriting{StripSetID: l.stripSetID, StripXattrs: l.stripXattrs}
	kept, err := l.rewriting(false)
	if err != nil {
		return nil, squash, err
	}
	added, err := l.rewriting(true)
	if err != nil {
		return nil, squash, err
	}
	var owner [2]int
	if l.chown != "" && l.chown != "keep" {
		owner[0], owner[1], _ = added.Owner(0, 0) // It is one for all.
	}
	p := &packer{flags: l, kept: kept, added: added, newOwner: owner, stdin: stdin, stderr: discardIf(quiet, stderr)}
	for _, s := range l.steps {
		if err := p.step(s); err != nil {
			return nil, squash, fmt.Errorf("--%s %s: %w", s.flag, s.value, err)
		}
	}
	p.finish()
	return p.layers, squash, nil
}

// rewriting returns the rewriting of new files: those of --add, or others.
func (l *layerFlags) rewriting(added bool) (compose.Rewriting, error) {
	r := compose.Rewriting{StripSetID: l.stripSetID, StripXattrs: l.stripXattrs}
	mapped := len(l.uidMap)+len(l.gidMap) > 0
	switch {
	case mapped && l.chown != "":
		return r, usagef("--chown and --uid-map or --gid-map contradict each other")
	case mapped:
		uids, err := parseIDMap("--uid-map", l.uidMap)
		if err != nil {
			return r, err
		}
		gids, err := parseIDMap("--gid-map", l.gidMap)
		if err != nil {
			return r, err
		}
		r.Owner = compose.MapOwner(uids, gids)
	case l.chown == "" && added:
		r.Owner = compose.SetOwner(0, 0)
	case l.chown != "" && l.chown != "keep":
		user, group, both := strings.Cut(l.chown, ":")
		uid, err := strconv.ParseUint(user, 10, 31)
		gid := uid
		if err == nil && both {
			gid, err = strconv.ParseUint(group, 10, 31)
		}
		if err != nil {
			return r, usagef("--chown %q is neither UID[:GID] nor keep", l.chown)
		}
		r.Owner = compose.SetOwner(int(uid), int(gid))
	}
	if l.chmod != "" && added {
		mode, err := strconv.ParseUint(l.chmod, 8, 16)
		if err != nil || mode > 0o7777 {
			return r, usagef("--chmod %q is no octal mode", l.chmod)
		}
		r.Mode = func(h *tar.Header) int64 {
			if h.Typeflag == tar.TypeDir {
				return h.Mode
			}
			return int64(mode)
		}
	}
	return r, nil
}

// parseIDMap parses maps from the image to this machine, which files are mapped back by.
func parseIDMap(flag string, maps []string) ([]compose.IDRange, error) {
	var ranges []compose.IDRange
	for _, m := range maps {
		fields := strings.Split(m, ":")
		var numbers [3]int
		ok := len(fields) == len(numbers)
		for i := 0; ok && i < len(numbers); i++ {
			n, err := strconv.ParseUint(fields[i], 10, 32)
			numbers[i], ok = int(n), err == nil
		}
		if !ok {
			return nil, usagef("%s %q is not of the form IMAGE:HOST:SIZE", flag, m)
		}
		ranges = append(ranges, compose.IDRange{From: numbers[1], To: numbers[0], Size: numbers[2]})
	}
	return ranges, nil
}

// packer makes layers of steps.
type packer struct {
	flags       *layerFlags
	kept, added compose.Rewriting
	newOwner    [2]int // of directories that --add needs
	stdin       io.Reader
	stderr      io.Writer

	layers []compose.Layer
	parts  []compose.Part // of the layer that --add, --remove and --opaque make
	names  []string       // of the parts
}

func (p *packer) step(s step) error {
	switch s.flag {
	case "add":
		return p.add(s.value)
	case "remove":
		p.part(compose.Whiteouts(s.value), s)
		return nil
	case "opaque":
		p.part(compose.Opaque(s.value), s)
		return nil
	}
	p.finish()
	switch s.flag {
	case "layer":
		return p.layer(s.value)
	case "diff":
		old, dir, ok := strings.Cut(s.value, ":")
		if !ok || old == "" || dir == "" {
			return usagef("it is not of the form OLD:NEW")
		}
		return p.directory(dir, compose.DiffDir(old, dir, p.options("", p.kept)))
	default: // rootfs
		return p.directory(s.value, compose.DiffBase(s.value, p.options("", p.kept)))
	}
}

// finish makes a layer of the steps that go together.
func (p *packer) finish() {
	if len(p.parts) > 0 {
		p.put(compose.Pack(strings.Join(p.names, " "), p.parts...))
	}
	p.parts, p.names = nil, nil
}

func (p *packer) put(content compose.Content) {
	p.layers = append(p.layers, compose.Layer{Content: content})
}

func (p *packer) part(part compose.Part, s step) {
	p.parts = append(p.parts, part)
	p.names = append(p.names, fmt.Sprintf("--%s %s", s.flag, s.value))
}

func (p *packer) options(prefix string, r compose.Rewriting) compose.PackOptions {
	return compose.PackOptions{
		Rewriting: r, Prefix: prefix, Exclude: p.flags.exclude,
		Skipped: func(path string) {
			fmt.Fprintf(p.stderr, "docker-archive: %s is left out: it is a socket\n", printable.String(path))
		},
	}
}

// layer makes a layer of a tar or a directory.
func (p *packer) layer(value string) error {
	if value == "-" {
		p.put(compose.Stream("standard input", p.stdin))
		return nil
	}
	file, prefix := value, ""
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		if i := strings.LastIndex(value, ":/"); i > 0 {
			file, prefix = value[:i], value[i+1:]
			info, err = os.Stat(file)
		}
	}
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return p.directory(file, compose.Dir(file, p.options(prefix, p.kept)))
	case prefix != "":
		return usagef("a path is for the contents of a directory, and %s is none", file)
	}
	content := compose.Tar(file)
	if p.kept.Owner != nil || p.kept.StripSetID || p.kept.StripXattrs {
		content = compose.Filter(content, p.kept)
	}
	p.put(content)
	return nil
}

func (p *packer) directory(dir string, part compose.Part) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return usagef("%s is no directory", dir)
	}
	p.put(part)
	return nil
}

// add puts a file, or the contents of a directory, into the image.
func (p *packer) add(value string) error {
	src, dst, info, err := sourceAndDestination(value)
	if err != nil {
		return err
	}
	s := step{"add", value}
	name := filepath.Base(src)
	if src, err = filepath.EvalSymlinks(src); err != nil { // The user names it.
		return err
	}
	o := p.options(dst, p.added)
	o.Follow, o.NewOwner = true, p.newOwner
	if info.IsDir() {
		p.part(compose.Dir(src, o), s)
		return nil
	}
	if strings.HasSuffix(dst, "/") || strings.HasSuffix(dst, "/.") {
		o.Prefix, o.Exactly = path.Join(dst, name), true
	}
	p.part(compose.DiskFile(src, o), s)
	return nil
}

// sourceAndDestination splits SRC:DST. Either may have colons: SRC is the longest that is there.
func sourceAndDestination(value string) (src, dst string, info os.FileInfo, err error) {
	err = usagef("it is not of the form SRC:DST")
	for i := len(value) - 2; i > 0; i-- {
		if value[i] != ':' {
			continue
		}
		info, statErr := os.Stat(value[:i])
		if statErr == nil {
			return value[:i], value[i+1:], info, nil
		}
		if src == "" {
			src, err = value[:i], statErr
		}
	}
	return "", "", nil, err
}
