//go:build unix

package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/storetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// eachExample calls f with the examples of a command's help.
func eachExample(t *testing.T, name string, f func(t *testing.T, example string)) {
	t.Helper()
	cmd, _, err := newRootCommand().Find([]string{name})
	require.NoError(t, err)
	require.NotEmpty(t, cmd.Example)
	for example := range strings.Lines(cmd.Example) {
		example = strings.TrimSpace(example)
		t.Run(example, func(t *testing.T) { f(t, example) })
	}
}

// preparedDir is exampleDir after a script has run in it.
func preparedDir(t *testing.T, reg *imagetest.Registry, script string) (dir string, env []string) {
	t.Helper()
	dir, env = exampleDir(t, reg)
	env = append(env, "DOCKER_CONFIG="+t.TempDir())
	out, err := shell(t, dir, "set -e; PATH=$TOOLS:$PATH\n"+script, env...)
	require.NoError(t, err, out)
	return dir, env
}

func TestExamplesOfPush(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	dir, env := preparedDir(t, reg, "docker-archive save -q -o app.tar --name example.com/app:1 $IMAGES:one")
	eachExample(t, "push", func(t *testing.T, example string) {
		example = strings.NewReplacer("registry.internal:5000", reg.Address, "registry.internal", reg.Address).Replace(example)
		out, err := shell(t, dir, example+" --insecure-policy", env...)
		require.NoError(t, err, out)
		assert.Contains(t, out, reg.Address)
	})
}

func TestExamplesOfLoad(t *testing.T) {
	dir, env := preparedDir(t, imagetest.NewRegistry(t), `docker-archive save -q -o app.tar --name example.com/app:1 $IMAGES:one
docker-archive save -q -o other.tar --name other $IMAGES:two
rm images.tar
docker-archive save -q --all-platforms -o images.tar --name multi $IMAGES:multi
`)
	certs := filepath.Join(dir, "certs")
	require.NoError(t, os.Mkdir(certs, 0o700))
	writeCertificate(t, certs)
	require.NoError(t, os.Rename(filepath.Join(certs, "cert.pem"), filepath.Join(certs, "ca.pem")))
	require.NoError(t, os.Link(filepath.Join(certs, "ca.pem"), filepath.Join(certs, "cert.pem")))
	bin := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(bin, "ssh")))
	eachExample(t, "load", func(t *testing.T, example string) {
		if elsewhere := interopTest(t, example); elsewhere != "" {
			return
		}
		d := imagetest.NewLoadDaemon(t)
		d.UseContainerd()
		secure := httptest.NewUnstartedServer(d)
		secure.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
		secure.StartTLS()
		defer secure.Close()
		example = strings.ReplaceAll(example, "node1:2376", secure.Listener.Addr().String())
		out, err := shell(t, dir, "PATH="+bin+":$PATH\n"+example+" --insecure-policy", append(env,
			"DOCKER_HOST="+d.Host, sshVariable+"="+strings.TrimPrefix(d.Host, "unix://"))...)
		require.NoError(t, err, out)
		assert.NotEmpty(t, d.Names())
	})
}

// interopTest returns the test with real clients that has what an example of load needs
// and a test of the command alone cannot have: "" if there is nothing of that kind.
func interopTest(t *testing.T, example string) string {
	for needed, test := range map[string]string{
		"--namespace": "TestLoadContainerd", // A containerd.
		"--to podman": "TestLoadPodman",     // The right to unpack layers, which not every root has.
	} {
		if !strings.Contains(example, needed) {
			continue
		}
		files, err := filepath.Glob(testdata(t, "../interop/*_test.go"))
		require.NoError(t, err)
		for _, file := range files {
			if strings.Contains(string(imagetest.ReadFile(t, file)), "func "+test+"(") {
				return test
			}
		}
		assert.Fail(t, "there is no such test of interop", test)
	}
	return ""
}

func TestExamplesOfMake(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	dir, env := preparedDir(t, reg, `echo program > app; echo password > secret
mkdir rootfs; echo file > rootfs/file; tar czf rootfs.tar.gz -C rootfs .
docker-archive copy -q --all $IMAGES:multi docker://$REGISTRY/docker.io/library/alpine:3.19
make='docker-archive make -q --insecure-policy'
$make --base alpine:3.19 --add ./app:/usr/bin/app docker://$REGISTRY/app:1
$make --base alpine:3.20 --add ./secret:/etc/secret docker://$REGISTRY/docker.io/library/app:1
`)
	eachExample(t, "make", func(t *testing.T, example string) {
		work := filepath.Join(t.TempDir(), "work")
		require.NoError(t, os.CopyFS(work, os.DirFS(dir)))
		for _, name := range written(example) {
			require.NoError(t, os.RemoveAll(filepath.Join(work, name)))
		}
		script := strings.ReplaceAll(example, exampleRegistry+"/", reg.Address+"/") + " --insecure-policy --tls-verify=false"
		if strings.Contains(example, "docker-archive:app.tar") {
			script = "docker-archive save -q --layout docker -o app.tar --name app:1 $IMAGES:one\n" + script
		}
		out, err := shell(t, work, "set -e; PATH=$TOOLS:$PATH\n"+script, env...)
		require.NoError(t, err, out)
		for _, name := range written(example) {
			out, err := shell(t, work, "docker-archive verify "+name)
			assert.NoError(t, err, out)
		}
	})
}

func TestExamplesOfServe(t *testing.T) {
	storetest.NewS3(t).Put("prod/images.tar", archiveBytes(t))
	dir, env := preparedDir(t, imagetest.NewRegistry(t), "mkdir archives; cp images.tar archives\n")
	writeCertificate(t, dir)
	// The password is "secret", at the least cost.
	users := "anna:$2a$04$6NFZ7IZFBBYpQtW.YtfIB./I.2YEjjOPPFf8egzDgMkE8hvkWnqOK\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "users"), []byte(users), 0o600))
	eachExample(t, "serve", func(t *testing.T, example string) {
		example = strings.NewReplacer(" --listen :5000", "", "/srv/archives", "archives").Replace(example)
		// It is told to end when it serves.
		out, err := shell(t, dir, "rm -f log; mkfifo log\n"+example+` --listen 127.0.0.1:0 2>log & server=$!
while read -r line; do
	echo "$line"
	case $line in *'serving at'*) kill $server;; esac
done <log
wait $server`, env...)
		require.NoError(t, err, out)
		assert.Contains(t, out, "serving at http")
	})
}

// archiveBytes returns a small archive.
func archiveBytes(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("../../../testdata/archives/docker29.tar")
	require.NoError(t, err)
	return data
}

func TestExamplesOfBrowse(t *testing.T) {
	dir, env := preparedDir(t, imagetest.NewRegistry(t), "mkdir archives; cp images.tar archives\n")
	eachExample(t, "browse", func(t *testing.T, example string) {
		example = strings.NewReplacer("--port 8080", "--port 0", "/srv/archives", "archives").Replace(example)
		// It is told to end when it has printed its address.
		out, err := shell(t, dir, "rm -f out; mkfifo out\n"+example+` >out & server=$!
read -r line <out
echo "$line"
kill $server
wait $server`, env...)
		require.NoError(t, err, out)
		assert.Contains(t, out, "/?token=")
	})
}

// writeCertificate writes a certificate and its key.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	certificate := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: certificate.Certificate[0]},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
}
