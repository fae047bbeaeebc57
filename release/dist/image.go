package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nobody is the user of the command in its container, without a name on the host.
const nobody = 65532

// image writes the image of the command for all platforms, as an archive that the command has
// made: each image by make into a directory of OCI, an index over them, and all of it by save.
func (d *dist) image(ctx context.Context, builds []build) error {
	layout := filepath.Join(d.work, "oci")
	for _, b := range builds {
		layer := filepath.Join(d.work, b.name()+".layer.tar")
		if err := d.layer(b, layer); err != nil {
			return err
		}
		args := []string{
			"--insecure-policy", "make", "--quiet", "--layer", layer, "--set-platform", b.String(), "--timestamp", strconv.FormatInt(d.time.Unix(), 10),
			"--created-by", command + " " + d.tag, "--entrypoint", `["/usr/bin/` + command + `"]`, "--cmd", `["--help"]`,
			"--user", fmt.Sprintf("%d:%[1]d", nobody), "--workdir", "/work", "--env", "PATH=/usr/bin", "--env", "HOME=/home",
		}
		for _, label := range d.labels() {
			args = append(args, "--label", label)
		}
		if _, err := d.runs(ctx, append(args, "oci:"+layout+":"+b.name())...); err != nil {
			return err
		}
	}
	if err := d.index(layout); err != nil {
		return err
	}
	to := filepath.Join(d.out, fmt.Sprintf("%s_%s_image.tar", command, d.version()))
	_, err := d.runs(ctx, "--insecure-policy", "save", "--quiet", "--all-platforms", "--name", "ghcr.io/dockerarchive/"+command+":"+d.tag, "-o", to, "oci:"+layout+":all")
	return err
}

func (d *dist) labels() []string {
	return []string{
		"org.opencontainers.image.title=" + command,
		"org.opencontainers.image.description=" + title,
		"org.opencontainers.image.source=" + home,
		"org.opencontainers.image.licenses=" + license,
		"org.opencontainers.image.version=" + d.tag,
		"org.opencontainers.image.revision=" + d.commit,
		"org.opencontainers.image.created=" + d.time.Format("2006-01-02T15:04:05Z"),
	}
}

// layer writes the files of the image: the command, the certificates of registries, the files
// that give a user a name, and the directories that it writes to.
func (d *dist) layer(b build, to string) error {
	binary, err := os.ReadFile(b.binary)
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close() // Again, after an error.
	t := tar.NewWriter(f)
	directory := func(name string, mode fs.FileMode, owner int) error {
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: int64(mode), Uid: owner, Gid: owner, ModTime: d.time})
	}
	for _, dir := range []struct {
		name  string
		mode  fs.FileMode
		owner int
	}{
		{"etc", 0o755, 0}, {"etc/ssl", 0o755, 0}, {"etc/ssl/certs", 0o755, 0}, {"home", 0o755, nobody}, {"tmp", 0o1777, 0},
		{"usr", 0o755, 0}, {"usr/bin", 0o755, 0}, {"usr/share", 0o755, 0}, {"usr/share/doc", 0o755, 0}, {"usr/share/doc/" + command, 0o755, 0},
		{"var", 0o755, 0}, {"var/tmp", 0o1777, 0}, {"work", 0o755, nobody},
	} {
		if err := directory(dir.name, dir.mode, dir.owner); err != nil {
			return err
		}
	}
	licence := d.extra[0].content
	for _, extra := range d.extra {
		if extra.name == "LICENSE" {
			licence = extra.content
		}
	}
	doc := "usr/share/doc/" + command + "/"
	for _, file := range []struct {
		name    string
		mode    fs.FileMode
		content []byte
	}{
		{"etc/group", 0o644, []byte(fmt.Sprintf("root:x:0:\nnonroot:x:%d:\n", nobody))},
		{"etc/passwd", 0o644, []byte(fmt.Sprintf("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:%d:%[1]d:nonroot:/home:/sbin/nologin\n", nobody))},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, certificates()},
		{doc + "LICENSE", 0o644, licence},
		{doc + "NOTICES", 0o644, b.notices},
		{"usr/bin/" + command, 0o755, binary},
	} {
		if err := d.tarFile(t, file.name, file.mode, file.content); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return f.Close()
}

// certificates returns the authorities that Mozilla trusts, as Go publishes them in a module:
// go.sum pins it, other than the files of the machine that makes a release. Those that are
// trusted only under a condition are left out, because a file of certificates cannot say it.
func certificates() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // A buffer takes it.
		}
	}
	return b.Bytes()
}

// index makes one image of those in a directory of OCI, which is called all.
func (d *dist) index(layout string) error {
	path := filepath.Join(layout, imgspecv1.ImageIndexFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var images imgspecv1.Index
	if err := json.Unmarshal(data, &images); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	for i, m := range images.Manifests {
		p, err := platformOf(layout, m)
		if err != nil {
			return err
		}
		images.Manifests[i].Platform, images.Manifests[i].Annotations = p, nil
	}
	blob, err := json.Marshal(imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, Manifests: images.Manifests})
	if err != nil {
		return err
	}
	sum := digest.FromBytes(blob)
	if err := os.WriteFile(blobPath(layout, sum), blob, 0o644); err != nil {
		return err
	}
	images.Manifests = []imgspecv1.Descriptor{{
		MediaType: imgspecv1.MediaTypeImageIndex, Digest: sum, Size: int64(len(blob)), Annotations: map[string]string{imgspecv1.AnnotationRefName: "all"},
	}}
	if data, err = json.Marshal(images); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// platformOf returns the platform in the config of an image.
func platformOf(layout string, image imgspecv1.Descriptor) (*imgspecv1.Platform, error) {
	var manifest imgspecv1.Manifest
	if err := readBlob(layout, image.Digest, &manifest); err != nil {
		return nil, err
	}
	var config imgspecv1.Image
	if err := readBlob(layout, manifest.Config.Digest, &config); err != nil {
		return nil, err
	}
	return &config.Platform, nil
}

func readBlob(layout string, sum digest.Digest, to any) error {
	data, err := os.ReadFile(blobPath(layout, sum))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("reading blob %s: %w", sum, err)
	}
	return nil
}

func blobPath(layout string, sum digest.Digest) string {
	return filepath.Join(layout, imgspecv1.ImageBlobsDir, sum.Algorithm().String(), sum.Encoded())
}
