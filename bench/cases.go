//go:build linux

package main

import (
	"os"
	"os/exec"
	"strings"
)

// benchCase is something that both sides can do, or a limit of this machine if there is no
// other side. In the lines of shell, which run in $DATA,
//
//	$OUT       is what they write, a file or a directory, which does not exist yet
//	$REGISTRY  leads to the registry of the case through its network
//	$ADDRESS   is where a server is to listen
//
// and "bench" is this program.
type benchCase struct {
	name     string
	title    string
	goal     float64      // of the wall time, ours ÷ theirs; 0 if there is none
	moves    float64      // the goal of moved ÷ distinct, if it is not that of the network
	registry *registry    // nil if there is none
	network  networkIndex // it is in
	distinct blobs        // the bytes to move
	givesUp  bool         // theirs may fail, and then the row says so: it begins anew where a line breaks
	same     bool         // both sides write the same; else each repeats its earlier output
	varies   bool         // theirs writes something else every time
	needs    string       // the programs that theirs needs, besides
	docker   bool         // a Docker daemon runs, which needs root
	ours     side
	theirs   side
}

type side struct {
	run     string // the lines that are measured
	prepare string // those before them, which are not
	server  string // a server that runs from before those until after, and is measured with them; not with a registry
}

// missing names a missing requirement of a case, or returns "".
func (c benchCase) missing() string {
	needs := strings.Fields(c.needs)
	if c.registry != nil {
		needs = append(needs, strings.Fields(c.registry.needs)...)
	}
	for _, program := range needs {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	if c.docker && os.Geteuid() != 0 {
		return "root"
	}
	return ""
}

const (
	oci    = "oci:oci:v0"
	image0 = "docker://$REGISTRY/bench/app:v0"
	pushed = "$REGISTRY/pushed/app"
	save   = "docker-archive save -o $OUT " + image0
	theirs = "bench copy " + image0 + " docker-archive:$OUT:example.com/app:v0" // containers/image
	regctl = "regctl registry set --tls disabled $REGISTRY; regctl image "
	skopeo = "skopeo --insecure-policy copy -q --src-tls-verify=false --dest-tls-verify=false "
	push   = "docker-archive push packed.tar $REGISTRY/pushed"

	pushSkopeo = skopeo + "oci-archive:packed.tar:v0 docker://" + pushed + ":v0"
	pushCrane  = "crane push --insecure packed.tar " + pushed + ":v0"
	pushRegctl = regctl + "import --name v0 " + pushed + ":v0 packed.tar"

	make1    = "docker-archive make $(printf -- '--layer %s ' layers/?.tar) --set-platform linux/amd64 -t bench:1 -o $OUT --layout "
	appended = "crane append --oci-empty-base --new_tag bench:1 --output $OUT $(printf -- '--new_layer %s ' layers/?.tar)"
)

var cases = []benchCase{
	{name: "limit-inflate", title: "limit of this machine: inflate the layers on one core", ours: side{run: "GOMAXPROCS=1 bench inflate ours layers/?.tar.gz"}},
	{name: "limit-hash", title: "limit of this machine: sha256 of the layers, uncompressed", ours: side{run: "bench hash layers/?.tar"}},
	{name: "limit-cp", title: "limit of this machine: cp of the layers, uncompressed", ours: side{run: "mkdir $OUT; cp layers/?.tar $OUT"}},
	{name: "limit-fetch", registry: pulled, title: "limit of this machine: fetch the layers from the registry", distinct: image, ours: side{run: "bench read $REGISTRY /v2/bench/app/blobs/ 1 layers"}},
	{name: "inflate", title: "inflate on one core ÷ klauspost/compress", goal: 1 / 2.3,
		ours: side{run: "GOMAXPROCS=1 bench inflate ours layers/?.tar.gz"}, theirs: side{run: "GOMAXPROCS=1 bench inflate klauspost layers/?.tar.gz"}},
	{name: "inflate-gzip", title: "inflate on one core ÷ compress/gzip", goal: 1 / 3.0,
		ours: side{run: "GOMAXPROCS=1 bench inflate ours layers/?.tar.gz"}, theirs: side{run: "GOMAXPROCS=1 bench inflate std layers/?.tar.gz"}},
	{name: "inflate-igzip", title: "inflate on one core ÷ igzip -dc", goal: 1.35, needs: "igzip",
		ours: side{run: "GOMAXPROCS=1 bench inflate ours layers/?.tar.gz"}, theirs: side{run: "for l in layers/?.tar.gz; do igzip -dc $l >/dev/null; done"}},

	{name: "oci", title: "oci: → docker-archive: ÷ containers/image", goal: 0.55, same: true,
		ours: side{run: "docker-archive copy " + oci + " docker-archive:$OUT:example.com/app:v0"}, theirs: side{run: "bench copy " + oci + " docker-archive:$OUT:example.com/app:v0"}},
	{name: "registry", registry: pulled, title: "registry → docker-archive: ÷ containers/image", goal: 0.60, distinct: image, same: true,
		ours: side{run: "docker-archive copy " + image0 + " docker-archive:$OUT:example.com/app:v0"}, theirs: side{run: theirs}},
	{name: "registry-oci", registry: pulled, title: "registry → docker-archive: ÷ the same from oci:", goal: 1.1, same: true,
		ours: side{run: "docker-archive copy " + image0 + " docker-archive:$OUT:example.com/app:v0"}, theirs: side{run: "docker-archive copy " + oci + " docker-archive:$OUT:example.com/app:v0"}},
	{name: "plain", title: "dir:, uncompressed → docker-archive: ÷ containers/image", goal: 0.65, same: true,
		ours: side{run: "docker-archive copy dir:plain docker-archive:$OUT:example.com/app:v0"}, theirs: side{run: "bench copy dir:plain docker-archive:$OUT:example.com/app:v0"}},
	// Their manifest calls the layers, which are not compressed, gzip.
	{name: "load", title: "docker-archive: → dir: ÷ containers/image",
		ours: side{run: "docker-archive copy docker-archive:one.tar dir:$OUT"}, theirs: side{run: "bench copy docker-archive:one.tar dir:$OUT"}},
	{name: "list", title: "open each of 500 images of an archive ÷ containers/image", same: true,
		ours: side{run: "bench open ours many.tar >$OUT"}, theirs: side{run: "bench open theirs many.tar >$OUT"}},
	{name: "verify", title: "verify ÷ sha256 of the archive, on one core",
		ours: side{run: "docker-archive verify packed.tar"}, theirs: side{run: "bench hash packed.tar"}},

	{name: "save", registry: pulled, title: "registry → save ÷ containers/image to docker-archive:", goal: 0.15, distinct: image,
		ours: side{run: save}, theirs: side{run: theirs}},
	{name: "save-crane", registry: pulled, title: "registry → save ÷ crane pull", goal: 0.75, distinct: image, needs: "crane",
		ours: side{run: save}, theirs: side{run: "crane pull --insecure $REGISTRY/bench/app:v0 $OUT"}},
	{name: "save-parts", registry: parted, title: "registry → save of 30 layers of 10 MB ÷ crane pull", goal: 0.8, needs: "crane",
		ours: side{run: "docker-archive save -o $OUT docker://$REGISTRY/bench/parts:v0"}, theirs: side{run: "crane pull --insecure $REGISTRY/bench/parts:v0 $OUT"}},
	{name: "save-tls", registry: secure, title: "registry over TLS, both verify its certificate → save ÷ crane pull", goal: 0.8, distinct: image, needs: "crane",
		ours: side{run: verifying + save + " --tls-verify"}, theirs: side{run: verifying + "crane pull $REGISTRY/bench/app:v0 $OUT"}},
	{name: "save-regctl", registry: pulled, title: "registry → save ÷ regctl image export", goal: 0.75, distinct: image, needs: "regctl",
		ours: side{run: save}, theirs: side{run: regctl + "export $REGISTRY/bench/app:v0 $OUT"}},
	{name: "save-oci", title: "oci: → save ÷ cp and sha256", goal: 1.5,
		ours: side{run: "docker-archive save -o $OUT " + oci}, theirs: side{run: "mkdir $OUT; cp layers/?.tar.gz $OUT; bench hash layers/?.tar.gz"}},
	{name: "save-sync", title: "oci: → save ÷ save --no-sync", same: true,
		ours: side{run: "docker-archive save -o $OUT " + oci}, theirs: side{run: "docker-archive save --no-sync -o $OUT " + oci}},
	{name: "save-shared", registry: pulled, title: "registry, 2 images that share layers → save ÷ 2 copies by containers/image", distinct: images,
		ours:   side{run: save + " docker://$REGISTRY/bench/app:v1"},
		theirs: side{run: "mkdir $OUT; for v in v0 v1; do bench copy docker://$REGISTRY/bench/app:$v docker-archive:$OUT/$v.tar:example.com/app:$v; done"}},
	{name: "add", registry: pulled, title: "the second of these images → add ÷ save of both", distinct: second,
		ours:   side{run: "docker-archive add $OUT docker://$REGISTRY/bench/app:v1", prepare: "cp packed.tar $OUT; sync $OUT"},
		theirs: side{run: save + " docker://$REGISTRY/bench/app:v1"}},
	{name: "add-500", title: "add 10 images, each by itself, to an archive that has grown to 490 ÷ to one of 1", goal: 1.5,
		ours: addTo("grown.tar"), theirs: addTo("young.tar")},

	{name: "save-slow", registry: pulled, title: "registry at 20 MB/s a connection → save ÷ crane pull", goal: 0.25, distinct: image, network: slow, needs: "crane",
		ours: side{run: save}, theirs: side{run: "crane pull --insecure $REGISTRY/bench/app:v0 $OUT"}},
	{name: "save-slow-regctl", registry: pulled, title: "registry at 20 MB/s a connection → save ÷ regctl image export", goal: 0.25, distinct: image, network: slow, needs: "regctl",
		ours: side{run: save}, theirs: side{run: regctl + "export $REGISTRY/bench/app:v0 $OUT"}},
	{name: "copy-slow", registry: pulled, title: "registry at 20 MB/s a connection → copy ÷ skopeo copy to oci-archive:", goal: 0.25, distinct: image, network: slow, varies: true, needs: "skopeo",
		ours: side{run: "docker-archive copy " + image0 + " image-archive:$OUT"}, theirs: side{run: skopeo + image0 + " oci-archive:$OUT"}},
	{name: "copy-slow-docker", registry: pulled, title: "registry at 20 MB/s a connection → copy ÷ skopeo copy to docker-archive:", goal: 0.25, distinct: image, network: slow, needs: "skopeo",
		ours: side{run: "docker-archive copy " + image0 + " docker-archive:$OUT"}, theirs: side{run: skopeo + image0 + " docker-archive:$OUT"}},
	{name: "save-narrow", registry: pulled, title: "registry at 50 MB/s in sum → save ÷ reading its blobs", goal: 1.05, distinct: image, network: narrow,
		ours: side{run: save}, theirs: side{run: "bench read $REGISTRY /v2/bench/app/blobs/ 1 layers"}},
	{name: "save-failing", registry: pulled, title: "registry that breaks every 10 MB → save ÷ containers/image", distinct: image, network: failing,
		ours: side{run: save}, theirs: side{run: theirs}},
	{name: "save-resumed", registry: pulled, title: "registry at 20 MB/s a connection → save killed at half and resumed ÷ save", moves: 1.05 + 8.0/471, distinct: image, network: slow,
		ours: side{run: save + " --resume & until [ -s $OUT.partial ] && [ $(du -k $OUT.partial | cut -f 1) -gt $HALF ]; do sleep 0.02; done\n" +
			"kill -9 $!; ! wait $!; " + save + " --resume"},
		theirs: side{run: save}},

	{name: "save-bucket", title: "archive → save to a bucket ÷ AWS's library sends the file", goal: 1.1, distinct: image, needs: "versitygw",
		ours: bucket("docker-archive save -q --insecure-policy -o s3://images/app.tar packed.tar"), theirs: bucket("bench upload packed.tar images app.tar")},

	{name: "push", registry: empty, title: "archive → push ÷ skopeo copy oci-archive:", goal: 0.8, distinct: image, needs: "skopeo",
		ours: side{run: push}, theirs: side{run: pushSkopeo}},
	{name: "push-crane", registry: empty, title: "archive → push ÷ crane push", goal: 0.8, distinct: image, needs: "crane",
		ours: side{run: push}, theirs: side{run: pushCrane}},
	{name: "push-regctl", registry: empty, title: "archive → push ÷ regctl image import", goal: 0.8, distinct: image, needs: "regctl",
		ours: side{run: push}, theirs: side{run: pushRegctl}},
	{name: "push-again", registry: empty, title: "archive → push again ÷ skopeo copy again", needs: "skopeo",
		ours: side{run: push, prepare: push}, theirs: side{run: pushSkopeo, prepare: push}},
	{name: "push-20", registry: empty, title: "archive of 20 images that share layers → push ÷ skopeo copy of each", distinct: twenty, needs: "skopeo",
		ours:   side{run: "docker-archive push twenty.tar $REGISTRY/pushed"},
		theirs: side{run: "for i in $(seq 20); do " + skopeo + "oci-archive:twenty.tar:t$i docker://$REGISTRY/pushed/app$i:t$i; done"}},

	{name: "load-docker", title: "archive → load, 5 of 6 layers there ÷ docker load", distinct: second, docker: true, needs: dockerNeeds,
		ours: dockerSide("true", "docker-archive load second.tar"), theirs: dockerSide("true", "docker load --quiet --input second.tar")},
	{name: "load-docker-graph", title: "the same, docker with a graphdriver", distinct: second, docker: true, needs: dockerNeeds,
		ours: dockerSide("false", "docker-archive load second.tar"), theirs: dockerSide("false", "docker load --quiet --input second.tar")},

	{name: "serve", title: "8 connections read all layers: serve ÷ nginx", goal: 1 / 0.9, needs: "nginx",
		ours: serve("layers"), theirs: nginx("layers")},
	{name: "serve-registry", title: "8 connections read all layers: serve ÷ distribution's registry", goal: 0.5, needs: "registry",
		ours: serve("layers"), theirs: distribution("layers")},
	{name: "serve-bucket-cold", title: "8 connections read all layers: serve of a bucket of 50 MiB/s, nothing cached ÷ reading each byte from it once", goal: 1.05,
		ours: serveStored("50"), theirs: line("50")},
	{name: "serve-bucket-warm", title: "8 connections read all layers: serve of a bucket, all cached ÷ serve of the file", goal: 1 / 0.95,
		ours: warm(serveStored("0")), theirs: warm(serve("layers"))},
	{name: "serve-manifests", title: "8 connections read 10,000 manifests: serve ÷ nginx", needs: "nginx",
		ours: serve("manifests"), theirs: nginx("manifests")},
	{name: "serve-manifests-registry", title: "8 connections read 10,000 manifests: serve ÷ distribution's registry", needs: "registry",
		ours: serve("manifests"), theirs: distribution("manifests")},

	{name: "files", title: "archive → files ÷ crane export and tar t", goal: 0.4, needs: "crane", varies: true,
		ours: side{run: "docker-archive files packed.tar >$OUT"}, theirs: side{run: "crane export - - <packed.tar | tar t >$OUT"}},
	{name: "files-dive", title: "archive → files ÷ dive in CI mode", goal: 0.4, needs: "dive",
		ours: side{run: "docker-archive files packed.tar >/dev/null"}, theirs: side{run: "CI=true dive --source docker-archive packed.tar >/dev/null"}},
	{name: "export", title: "archive → export ÷ crane export", goal: 0.3, needs: "crane",
		ours: side{run: "docker-archive export -o $OUT packed.tar"}, theirs: side{run: "crane export - $OUT <packed.tar"}},
	{name: "cat", title: "archive, docker layout → cat of the last file of the last layer",
		ours: side{run: "docker-archive cat one.tar \"$(cat last.txt)\" >$OUT", prepare: "docker-archive files --layer 5 one.tar | grep -v '/$' | tail -1 >last.txt"}},

	{name: "make", title: "tars → make, OCI layout ÷ crane append", goal: 0.5, needs: "crane", ours: side{run: make1 + "image"}, theirs: side{run: appended}},
	{name: "make-docker", title: "tars → make, docker layout ÷ crane append", goal: 0.5, needs: "crane", ours: side{run: make1 + "docker"}, theirs: side{run: appended}},
	{name: "make-container", title: "container → make, OCI layout ÷ buildah commit and push", goal: 0.5, needs: "buildah", varies: true,
		ours:   side{run: "docker-archive make --container bench -t bench:1 -o $OUT", prepare: container},
		theirs: side{run: "buildah commit -q bench localhost/bench:1; buildah push -q localhost/bench:1 oci-archive:$OUT:bench", prepare: container}},
}
