package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Hints name only commands and flags that exist.
func TestGuessesAreRight(t *testing.T) {
	root := newRootCommand()
	root.InitDefaultCompletionCmd()
	line := regexp.MustCompile(`docker-archive ([a-z]+)([^;|&]*)`)
	all := map[string]string{}
	for word, hint := range guesses {
		all[word] = hint
		assert.Contains(t, hint, "docker-archive ", word)
		own, _, err := root.Find(strings.Fields(word)[:1])
		assert.True(t, err != nil || own == root || strings.Contains(word, " "), "%q is a command", word)
	}
	for flag, hint := range flagGuesses {
		all["flag "+flag] = hint
		if name, ok := strings.CutPrefix(hint, "--"); ok {
			name = regexp.MustCompile(`^[a-z-]+`).FindString(name)
			assert.True(t, slices.ContainsFunc(append(root.Commands(), root), func(c *cobra.Command) bool {
				return c.Flags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil
			}), "%s: there is no --%s", flag, name)
		}
		if command, name, ok := strings.Cut(flag, " "); ok {
			own, _, err := root.Find([]string{command})
			require.NoError(t, err, flag)
			assert.Nil(t, flagOf(own, name), "%s is a flag", flag)
		}
	}
	for word, hint := range all {
		for _, found := range line.FindAllStringSubmatch(hint, -1) {
			own, _, err := root.Find([]string{found[1]})
			if found[1] == "keeps" || found[1] == "has" || !assert.NoError(t, err, "%s: %s", word, hint) {
				continue
			}
			for _, arg := range strings.Fields(found[2]) {
				if name, _, _ := strings.Cut(arg, "="); strings.HasPrefix(name, "-") && name != "-" {
					assert.NotNil(t, flagOf(own, name), "%s: %s has no flag %s", word, found[1], name)
				}
			}
		}
	}
}

func flagOf(cmd *cobra.Command, arg string) *pflag.Flag {
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		return cmd.Flag(name)
	}
	return cmd.Flags().ShorthandLookup(strings.TrimPrefix(arg, "-"))
}

// Users of other programs are told what to type here.
func TestGuessedLines(t *testing.T) {
	inTestdata(t, "archives/podman-multi.tar", "jan.tar")
	require.NoError(t, os.WriteFile("list.txt", []byte(strings.Repeat("app:1\n", 200)), 0o600))
	for typed, want := range map[string]string{
		"pull registry.example/app:1 p.tar":                    "docker-archive save -o app.tar HOST/app:1",
		"pull --format=oci registry.example/app:1 x":           "docker-archive save",
		"--insecure pull registry.example/app:1 p.tar":         "docker-archive save",
		"--platform linux/arm64 pull registry.example/app:1 x": "docker-archive save",
		"append -b registry.example/app:1 -f x.tar":            "docker-archive make --base",
		"mutate registry.example/app:1 --label a=b":            "docker-archive make --base",
		"flatten registry.example/app:1":                       "--squash",
		"rebase registry.example/app:1":                        "--rebase",
		"merge a.tar b.tar -o m.tar":                           "docker-archive save -o all.tar",
		"cp registry.example/app:1 registry.example/cp:1":      "docker-archive copy docker://",
		"gc":         "docker-archive compact",
		"du jan.tar": "docker-archive layers",
		"sync --src docker --dest dir registry.example/app out": "docker-archive save --all-tags",
		"login registry.example -u a -p b":                      "docker login",
		"delete docker://registry.example/app:1":                "docker-archive remove",
		"blob get registry.example/app:1 sha256:45":             "docker-archive files --layer",
		"layer diff a b":                                   "docker-archive diff",
		"discover registry.example/app:1":                  "docker-archive save --referrers",
		"store add image app:1":                            "docker-archive add",
		"manifest diff a b":                                "docker-archive diff",
		"tag rm registry.example/app:1":                    "hint: docker-archive remove images.tar app:1",
		"validate --tarball jan.tar":                       "hint: docker-archive verify",
		"buildx imagetools inspect registry.example/app:1": "docker-archive inspect --raw",
		"kube play x.yaml":                                 "--from-yaml",
		"-tvf jan.tar":                                     "docker-archive list",
		"tag registry.example/app:1 latest":                "docker-archive copy docker://registry.example/app:1",
		"rmi registry.example/app:1":                       "docker-archive remove images.tar registry.example/app:1",
		"verify registry.example/app:1":                    "docker-archive save -o app.tar registry.example/app:1",
		"images":                                           "hint: docker-archive list images.tar",
		"save --compress -o f.tar app:1":                   "docker-archive save --compress gzip",
		"save -m -o f.tar app:1 app:2":                     "several images need no flag",
		"save -u me app:1":                                 "--username",
		"copy --insecure a b":                              "--tls-verify=false",
		"push --plain-http jan.tar registry.example":       "--tls-verify=false",
		"serve -p 5000 jan.tar":                            "--listen",
		"extract jan.tar out":                              "FILE:@0",
		"alpine:3.20":                                      "docker-archive save -o app.tar alpine:3.20",
		"jan.tar":                                          "docker-archive list jan.tar",
		"help pull":                                        "docker-archive save",
		"--log-level=debug --foo image ls":                 "--debug",
		"-v list jan.tar":                                  "--debug",
		"--insecure digest registry.example/app:1":         "--tls-verify=false",
		"-o out.tar bud -t x .":                            "docker-archive make",
		"-i jan.tar list":                                  "no flag is needed: docker-archive list images.tar",
		"-i jan.tar":                                       "docker-archive load -i app.tar",
		"push --input jan.tar registry.example":            "no flag is needed: docker-archive push",
		"save --src-creds a:b -o f.tar app:1":              "--creds",
		"save --src-tls-verify=false -o f.tar app:1":       "--tls-verify=false",
		"copy --creds a:b jan.tar dir:x":                   "--src-creds or --dest-creds",
		"copy --insecure jan.tar dir:x":                    "--tls-verify=false",
		"save --platform arm64 -o f.tar app:1":             "--platform linux/arm64",
		"save --platform all -o f.tar app:1":               "--all-platforms",
		"save --format oci-dir -o f app:1":                 "docker-archive copy docker://HOST/app:1 oci:DIR",
		"save --format tarball -o f.tar app:1":             "--layout image, oci or docker",
		"save registry.example/app:1 new.tar":              "docker-archive save -o new.tar registry.example/app:1",
		"save -o f.tar @list.txt":                          "--from-file list.txt",
		"save -o f.tar list.txt":                           "A list of images: --from-file list.txt; Kubernetes",
		"add new.tar registry.example/app:1":               "docker-archive save -o new.tar registry.example/app:1",
		"push registry.example/app:1 jan.tar":              "docker-archive push jan.tar registry.example/app:1",
		"tag jan.tar new:1":                                "docker-archive tag jan.tar OLD new:1",
		"tag jan.tar a:1 b:1 c:1":                          "docker-archive tag jan.tar a:1 b:1",
		"remove jan.tar":                                   "docker-archive remove jan.tar NAME",
		"inspect jan.tar registry.example/app:1":           "docker-archive inspect jan.tar:registry.example/app:1",
		"inspect --raw --format {{.Digest}} jan.tar:@0":    "print JSON",
		"inspect --format {{.Id}} jan.tar:@0":              "docker-archive list --format",
		"list dir:x":                                       "docker-archive inspect dir:x",
		"list registry.example:5000":                       "docker-archive tags registry.example:5000/app",
		"list alpine:3.20":                                 "docker-archive save -o app.tar alpine:3.20",
		"list jan.tar:/etc":                                "docker-archive files jan.tar /etc",
		"list jan.tar /etc":                                "docker-archive files jan.tar /etc",
		"cat jan.tar:/etc/passwd":                          "docker-archive cat jan.tar /etc/passwd",
		"cat jan.tar":                                      "docker-archive cat jan.tar PATH",
		"tree jan.tar /etc":                                "docker-archive files jan.tar /etc",
		"verify jan.tar jan.tar":                           "docker-archive verify \"$FILE\"",
		"compact jan.tar new.tar":                          "docker-archive save -o NEW",
		"images import jan.tar":                            "docker-archive push app.tar HOST",
		"jan.tar docker://registry.example/app:1":          "docker-archive copy jan.tar docker://registry.example/app:1",
		"store add chart x":                                "helm template",
		"store sync -f x.yaml":                             "docker-archive save --from-yaml",
		"make -t app:1 .":                                  "docker-archive make --base",
		"make -f Dockerfile .":                             "docker-archive make --base",
	} {
		_, errOut, status := command(t, strings.Fields(typed)...)
		assert.NotZero(t, status, typed)
		assert.Contains(t, errOut, want, typed)
		assert.Contains(t, errOut, "hint: ", typed)
		assert.NotContains(t, errOut, "did you mean", typed)
	}
}

// The error names the wrong word, whatever flags follow. Only an argument is taken for an image, and
// no other file.
func TestWrongWords(t *testing.T) {
	inTestdata(t, "archives/podman-multi.tar", "jan.tar")
	_, errOut, status := command(t, "sav", "-o", "f.tar", "app:1")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, errOut, `unknown command "sav"; did you mean save?`)
	_, errOut, _ = command(t, "summary", "jan.tar")
	assert.Contains(t, errOut, `unknown command "summary"`)
	assert.NotContains(t, errOut, "hint: ")
	_, errOut, _ = command(t, "--authfile", "auth.json", "inspect", "registry.example/app:1")
	assert.Contains(t, errOut, "auth.json")
	assert.NotContains(t, errOut, "hint: ")
}

// No word of another program is taken for a misspelled word of ours.
func TestWordsOfOthers(t *testing.T) {
	for _, word := range strings.Fields(wordsOfOthers) {
		_, errOut, _ := command(t, word)
		assert.NotContains(t, errOut, "did you mean", word)
	}
}

// wordsOfOthers are the commands of docker, podman, buildah, skopeo, crane, regctl, oras, umoci, ctr,
// nerdctl, cosign, hauler, helm, kind and tar-like programs.
const wordsOfOthers = `
	attach auto-update build builder buildx checkpoint commit compose config container context cp create
	diff events exec export farm generate healthcheck history image images import info init inspect kill
	kube load login logout logs machine manifest mount network node pause play plugin pod port ps pull push
	rename restart rm rmi run save scout search secret service stack start stats stop swarm system tag top
	trust unmount unpause unshare untag update version volume wait

	add bud copy from prune source umount

	delete generate-sigstore-key list-tags manifest-digest standalone-sign standalone-verify sync

	append auth blob catalog digest export flatten index layout ls mutate optimize pull rebase registry
	validate

	artifact repo discover backup restore resolve repack unpack raw gc stat insert new

	content containers namespaces snapshots task leases plugins

	attest clean dockerfile download env initialize install-cosign piv-tool pkcs11-tool policy public-key
	sign sign-blob signing-config tree triangulate trusted-root upload verify verify-attestation
	verify-blob

	store completion dependency get lint package pull repo rollback show status template test uninstall
	delete-cluster kubeconfig nodes

	extract unzip untar tar zip du df cat find grep ll
`

// Names from other programs that mean the same are names here.
func TestAliases(t *testing.T) {
	inTestdata(t, "archives/skopeo.tar", "x.tar")
	for alias, name := range map[string]string{"images": "list", "ls": "list", "check": "verify", "validate": "verify", "history": "layers"} {
		want, _ := succeeds(t, name, "x.tar")
		got, _ := succeeds(t, alias, "x.tar")
		assert.Equal(t, want, got, alias)
	}
	want, _ := succeeds(t, "list", "x.tar")
	got, _ := succeeds(t, "list", "--digests", "x.tar")
	assert.Equal(t, want, got)
	out, _ := succeeds(t, "list", "--no-trunc", "x.tar")
	assert.Regexp(t, `sha256:[0-9a-f]{64} `, out)
	out, _ = succeeds(t, "list", "--format", `table {{.Repository}}\t{{.Tag}}`, "x.tar")
	assert.Regexp(t, `^REPOSITORY +TAG\n\S+ +\S+\n$`, out)
	toFile, _ := succeeds(t, "export", "-o", "-", "x.tar")
	out, _ = succeeds(t, "export", "x.tar")
	assert.Equal(t, toFile, out, "as docker export has it")
	out, _ = succeeds(t, "export", "x.tar", "rootfs.tar")
	assert.Empty(t, out)
	assert.FileExists(t, "rootfs.tar")
}

// Lines of other programs that mean the same as one here do the same.
func TestSynonyms(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	reg.Push(t, "app:1", imagetest.Saved(t, "one"))
	reg.Push(t, "app:2", imagetest.Saved(t, "one"))
	inTestdata(t, "archives/podman-multi.tar", "jan.tar")
	for typed, want := range map[string]string{
		"image ls jan.tar":                                    "list jan.tar",
		"--debug image list jan.tar":                          "list jan.tar",
		"images ls jan.tar":                                   "list jan.tar",
		"i ls jan.tar":                                        "list jan.tar",
		"--format {{.Tag}} list jan.tar":                      "list --format {{.Tag}} jan.tar",
		"-q list jan.tar":                                     "list -q jan.tar",
		"--json list jan.tar":                                 "list --json jan.tar",
		"image inspect jan.tar:@0":                            "inspect jan.tar:@0",
		"--platform linux/amd64 image inspect jan.tar:@0":     "inspect --platform linux/amd64 jan.tar:@0",
		"manifest jan.tar:@0":                                 "inspect --raw jan.tar:@0",
		"manifest inspect jan.tar:@0":                         "inspect --raw jan.tar:@0",
		"config jan.tar:@0":                                   "inspect --config jan.tar:@0",
		"image history jan.tar:@0":                            "layers jan.tar:@0",
		"tree jan.tar":                                        "layers jan.tar",
		"digest jan.tar:@0":                                   "inspect --format {{.Digest}} jan.tar:@0",
		"digest --tarball jan.tar 127.0.0.1:5111/tiny/two:v1": "inspect --format {{.Digest}} jan.tar:@1",
		"image digest jan.tar:@1":                             "inspect --format {{.Digest}} jan.tar:@1",
		"image diff jan.tar:@0 jan.tar:@0":                    "diff jan.tar:@0 jan.tar:@0",
	} {
		want, _ := succeeds(t, strings.Fields(want)...)
		got, _ := succeeds(t, strings.Fields(typed)...)
		assert.Equal(t, want, got, typed)
	}
	out, _ := succeeds(t, "digest", "--tarball", "jan.tar")
	assert.Regexp(t, `^sha256:[0-9a-f]{64} 127.0.0.1:5111/tiny/one:v1\nsha256:[0-9a-f]{64} 127.0.0.1:5111/tiny/two:v1\n$`, out)
	out, _ = succeeds(t, "list-tags", "docker-archive:jan.tar")
	assert.JSONEq(t, `{"Tags": ["127.0.0.1:5111/tiny/one:v1", "127.0.0.1:5111/tiny/one:again", "127.0.0.1:5111/tiny/two:v1"]}`, out)
	out, _ = succeeds(t, "layers", "jan.tar")
	assert.Contains(t, out, "127.0.0.1:5111/tiny/one:v1:\nLAYER")
	assert.Contains(t, out, "\n\n127.0.0.1:5111/tiny/two:v1:\nLAYER")
	hinted(t, "Say which by its name", "layers", "--json", "jan.tar")
	succeeds(t, "save", "--format", "oci-archive", "-o", "f.tar", "docker-archive:jan.tar")
	succeeds(t, "save", "--format", "docker-archive", "-o", "g.tar", "docker-archive:jan.tar")
	_, errOut, status := command(t, "save", "--format", "docker-dir", "-o", "h", "docker-archive:jan.tar")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, errOut, "a directory is no archive")
	out, _ = succeeds(t, "manifest", "get", "--help")
	assert.Contains(t, out, "docker-archive inspect IMAGE")

	out, _ = succeeds(t, "list-tags", "--tls-verify=false", "docker://"+reg.Address+"/app")
	assert.JSONEq(t, `{"Repository": "`+reg.Address+`/app", "Tags": ["1", "2"]}`, out)
	for _, typed := range []string{"ls", "tag ls", "repo tags"} {
		out, _ = succeeds(t, append(strings.Fields(typed), reg.Address+"/app")...)
		assert.Equal(t, "1\n2\n", out, typed)
	}
}

// No name is both a synonym and a guess, and none is that of a command.
func TestSynonymsAreNoCommands(t *testing.T) {
	root := newRootCommand()
	for name, own := range synonyms {
		assert.NotContains(t, guesses, name)
		found, _, err := root.Find(strings.Fields(name)[:1])
		assert.True(t, err != nil || found == root || strings.HasPrefix(name, "tag "), name)
		found, _, err = root.Find(own[:1])
		assert.True(t, err == nil && found != root, name)
	}
}

// inTestdata goes to a directory that has a copy of a file of the test data.
func inTestdata(t *testing.T, from, to string) {
	t.Helper()
	data := imagetest.ReadFile(t, imagetest.Testdata(t, from))
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile(to, data, 0o600))
}

// An image in a registry is inspected like one in an archive.
func TestInspectAnyImage(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	reg.Push(t, "app:1", imagetest.Saved(t, "one"))
	one := "oci:" + imagetest.Testdata(t, "oci") + ":one"
	var digests []string
	for _, image := range []string{one, reg.Address + "/app:1", "docker://" + reg.Address + "/app:1"} {
		out, _ := succeeds(t, "inspect", "--format", "{{.Digest}}", "--tls-verify=false", image)
		digests = append(digests, out)
		config, _ := succeeds(t, "inspect", "--config", "--tls-verify=false", image)
		assert.Contains(t, config, `"rootfs"`)
	}
	assert.Len(t, slices.Compact(digests), 1, digests)
	hinted(t, "Check the name and the tag", "inspect", "--retry-times", "0", "--tls-verify=false", reg.Address+"/app:none")
}

// HOST/NAME:TAG is what the only image of an archive is called in a registry.
func TestPushUnderOneName(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	path := filepath.Join(t.TempDir(), "x.tar")
	succeeds(t, "save", "-q", "-o", path, "oci:"+imagetest.Testdata(t, "oci")+":one=example.com/old:1")
	out, _ := succeeds(t, "push", "--tls-verify=false", path, reg.Address+"/team/new:2")
	assert.Contains(t, out, reg.Address+"/team/new:2 sha256:")
	assert.NotContains(t, out, "old")
	succeeds(t, "inspect", "--tls-verify=false", reg.Address+"/team/new:2")
	_, errOut, status := command(t, "push", "--tls-verify=false", archives+"podman-multi.tar", reg.Address+"/team/new:3")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, errOut, "is the name of one image, but there are 2")
}

// The shell completes the names of images in archives.
func TestCompletion(t *testing.T) {
	inTestdata(t, "archives/podman-multi.tar", "x.tar")
	for typed, want := range map[string]string{
		"inspect x.tar:127":                   "x.tar:127.0.0.1:5111/tiny/one:v1\nx.tar:127.0.0.1:5111/tiny/one:again\nx.tar:127.0.0.1:5111/tiny/two:v1\n:4",
		"remove x.tar 127.0.0.1:5111/tiny/t":  "127.0.0.1:5111/tiny/two:v1\n:4",
		"tag x.tar 127.0.0.1:5111/tiny/one:a": "127.0.0.1:5111/tiny/one:again\n:4",
		"list x":                              ":0",
		"layers none.tar:":                    ":4",
	} {
		root := newRootCommand()
		var out buffer
		root.SetOut(&out)
		root.SetErr(&buffer{})
		root.SetArgs(append([]string{"__complete"}, strings.Fields(typed)...))
		require.NoError(t, root.ExecuteContext(t.Context()), typed)
		assert.True(t, strings.HasPrefix(out.String(), want), "%s: %s", typed, out.String())
	}
}
