package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// guesses are the commands of skopeo, crane, regctl, oras, docker, podman and hauler that
// have another name here, or none, with the line that does the same. Words of two parts
// go before words of one.
var guesses = map[string]string{
	// From a registry into a file, and back.
	"pull":          "docker-archive save -o app.tar HOST/app:1",
	"image pull":    "docker-archive save -o app.tar HOST/app:1",
	"download":      "docker-archive save -o app.tar HOST/app:1",
	"fetch":         "docker-archive save -o app.tar HOST/app:1",
	"get":           "docker-archive save -o app.tar HOST/app:1",
	"backup":        "docker-archive save --referrers --all-platforms -o app.tar HOST/app:1",
	"restore":       "docker-archive push app.tar HOST",
	"image export":  "docker-archive save -o app.tar HOST/app:1",
	"image import":  "docker-archive push app.tar HOST; docker-archive load app.tar is for docker and podman",
	"upload":        "docker-archive push app.tar HOST",
	"publish":       "docker-archive push app.tar HOST",
	"sync":          "docker-archive save --all-tags -o app.tar HOST/app && docker-archive push app.tar OTHER",
	"mirror":        "docker-archive save --all-tags -o app.tar HOST/app && docker-archive push app.tar OTHER",
	"store add":     "docker-archive add images.tar HOST/app:1",
	"store sync":    "docker-archive save --from-file images.txt -o images.tar",
	"store save":    "docker-archive save -o images.tar HOST/app:1",
	"store load":    "docker-archive add images.tar image-archive:other.tar",
	"store copy":    "docker-archive push images.tar HOST",
	"store serve":   "docker-archive serve images.tar",
	"store info":    "docker-archive list images.tar",
	"store extract": "docker-archive extract images.tar:app:1 DIR",
	"store remove":  "docker-archive remove images.tar app:1",
	"store":         "docker-archive save -o images.tar HOST/app:1",

	// Between registries and other places.
	"cp":            "docker-archive copy docker://HOST/app:1 docker://OTHER/app:1; for files of an image docker-archive extract app.tar /etc DIR",
	"image copy":    "docker-archive copy docker://HOST/app:1 docker://OTHER/app:1",
	"image cp":      "docker-archive copy docker://HOST/app:1 docker://OTHER/app:1",
	"artifact copy": "docker-archive copy --all docker://HOST/app:1 docker://OTHER/app:1",
	"convert":       "docker-archive copy docker-archive:app.tar oci:DIR:app; save --layout docker|oci|image chooses the layout",
	"transfer":      "docker-archive copy docker://HOST/app:1 docker://OTHER/app:1",
	"image rename":  "docker-archive rename images.tar OLD NEW",
	"retag":         "docker-archive tag images.tar OLD NEW",
	"mv":            "docker-archive rename images.tar OLD NEW",
	"move":          "docker-archive rename images.tar OLD NEW",

	// Looking at images.
	"repo ls":               "docker-archive list images.tar; a registry is not searched for repositories",
	"repo":                  "docker-archive list images.tar; a registry is not searched for repositories",
	"catalog":               "docker-archive list images.tar; a registry is not searched for repositories",
	"search":                "docker-archive list images.tar; a registry is not searched",
	"find":                  "docker-archive list images.tar; files in an image: docker-archive files app.tar",
	"show":                  "docker-archive inspect app.tar",
	"info":                  "docker-archive list images.tar; docker-archive inspect app.tar",
	"describe":              "docker-archive inspect app.tar",
	"manifest-digest":       "docker-archive inspect --format '{{.Digest}}' app.tar",
	"manifest digest":       "docker-archive inspect --format '{{.Digest}}' app.tar",
	"hist":                  "docker-archive layers app.tar",
	"layer":                 "docker-archive layers app.tar; docker-archive files --layer N app.tar",
	"layer ls":              "docker-archive layers app.tar",
	"layer diff":            "docker-archive diff a.tar b.tar; docker-archive files --layer N app.tar",
	"blob":                  "docker-archive cat app.tar PATH; docker-archive files --layer N app.tar; blobs of OCI: docker-archive copy docker-archive:app.tar oci:DIR",
	"blob get":              "docker-archive files --layer N app.tar; docker-archive copy docker-archive:app.tar oci:DIR writes blobs as files",
	"blob get-file":         "docker-archive cat app.tar PATH",
	"blob diff-config":      "docker-archive diff a.tar b.tar",
	"blob diff-layer":       "docker-archive diff a.tar b.tar",
	"manifest diff":         "docker-archive diff a.tar b.tar",
	"compare":               "docker-archive diff a.tar b.tar",
	"cmp":                   "docker-archive diff a.tar b.tar",
	"dive":                  "docker-archive layers app.tar; docker-archive files --layers app.tar",
	"du":                    "docker-archive layers app.tar; docker-archive files --sort size -l app.tar",
	"df":                    "docker-archive layers app.tar; docker-archive list images.tar",
	"system df":             "docker-archive list images.tar; docker-archive layers app.tar",
	"size":                  "docker-archive list images.tar; docker-archive layers app.tar",
	"stat":                  "docker-archive files -l app.tar PATH",
	"mount":                 "docker-archive extract app.tar DIR; docker-archive export -o rootfs.tar app.tar",
	"image mount":           "docker-archive extract app.tar DIR; docker-archive export -o rootfs.tar app.tar",
	"unmount":               "docker-archive extract app.tar DIR writes plain files; there is nothing to unmount",
	"umount":                "docker-archive extract app.tar DIR writes plain files; there is nothing to unmount",
	"unpack":                "docker-archive extract app.tar DIR",
	"platforms":             "docker-archive list images.tar; docker-archive inspect --raw app.tar",
	"image check-base":      "docker-archive diff base.tar app.tar",
	"check-base":            "docker-archive diff base.tar app.tar",
	"image ratelimit":       "docker-archive save --retry-times 10 -o app.tar HOST/app:1 waits as long as the registry asks",
	"discover":              "docker-archive save --referrers -o app.tar HOST/app:1 && docker-archive list app.tar",
	"referrers":             "docker-archive save --referrers -o app.tar HOST/app:1 && docker-archive list app.tar",
	"artifact":              "docker-archive save --referrers -o app.tar HOST/app:1 && docker-archive list app.tar",
	"artifact list":         "docker-archive save --referrers -o app.tar HOST/app:1 && docker-archive list app.tar",
	"artifact tree":         "docker-archive save --referrers -o app.tar HOST/app:1 && docker-archive list app.tar",
	"artifact get":          "docker-archive copy docker://HOST/artifact:1 oci:DIR",
	"artifact put":          "docker-archive copy oci:DIR docker://HOST/artifact:1; oras push makes artifacts",
	"attach":                "docker-archive save --referrers -o app.tar HOST/app:1 carries what others attach, as oras or cosign",
	"artifact pull":         "docker-archive save -o artifact.tar HOST/artifact:1",
	"sbom":                  "docker-archive save --referrers -o app.tar HOST/app:1 && docker-archive list app.tar",
	"scan":                  "docker-archive export -o rootfs.tar app.tar, for a scanner that reads files",
	"sign":                  "docker-archive copy --sign-by-sigstore-private-key KEY docker-archive:app.tar docker://HOST/app:1",
	"standalone-sign":       "docker-archive copy --sign-by-sigstore-private-key KEY docker-archive:app.tar docker://HOST/app:1",
	"standalone-verify":     "docker-archive verify --key cosign.pub app.tar",
	"image trust":           "docker-archive verify --key cosign.pub app.tar",
	"trust":                 "docker-archive verify --key cosign.pub app.tar",
	"generate-sigstore-key": "cosign generate-key-pair; docker-archive verify --key cosign.pub app.tar checks with it",
	"lint":                  "docker-archive verify app.tar",
	"fsck":                  "docker-archive verify app.tar",
	"test":                  "docker-archive verify app.tar",
	"doctor":                "docker-archive verify app.tar",
	"image validate":        "docker-archive verify app.tar",
	"checksum":              "docker-archive save --sha256 -o app.tar HOST/app:1; docker-archive verify app.tar",
	"verify-signature":      "docker-archive verify --key cosign.pub app.tar",
	"registry":              "docker-archive serve images.tar",
	"registry serve":        "docker-archive serve images.tar",
	"registry login":        "docker login HOST, or docker-archive save --creds USER -o app.tar HOST/app:1",
	"registry config":       "docker-archive save --tls-verify=false --cert-dir DIR -o app.tar HOST/app:1",
	"daemon":                "docker-archive serve images.tar",
	"server":                "docker-archive serve images.tar",
	"http":                  "docker-archive serve images.tar",
	"ui":                    "docker-archive serve images.tar; docker-archive files app.tar",
	"login":                 "docker login HOST, or docker-archive save --username USER --password-stdin -o app.tar HOST/app:1",
	"logout":                "docker logout HOST; docker-archive save --no-creds asks without credentials",
	"auth":                  "docker login HOST, or docker-archive save --username USER --password-stdin -o app.tar HOST/app:1",
	"auth login":            "docker login HOST, or docker-archive save --username USER --password-stdin -o app.tar HOST/app:1",
	"auth logout":           "docker logout HOST; docker-archive save --no-creds asks without credentials",
	"auth get":              "docker login HOST stores credentials; docker-archive save --authfile FILE reads them",
	"registry logout":       "docker logout HOST; docker-archive save --no-creds asks without credentials",
	"ping":                  "docker-archive inspect HOST/app:1",
	"extract-file":          "docker-archive cat app.tar PATH",
	"create":                "docker-archive save -o app.tar HOST/app:1; docker-archive make builds an image",
	"new":                   "docker-archive save -o app.tar HOST/app:1; docker-archive make builds an image",
	"archive":               "docker-archive save -o app.tar HOST/app:1",
	"pack":                  "docker-archive save -o app.tar HOST/app:1",
	"bundle":                "docker-archive save --from-file images.txt -o images.tar",
	"compress":              "docker-archive save -o app.tar.zst docker-archive:app.tar",
	"decompress":            "docker-archive save --compress none -o app.tar docker-archive:app.tar.zst",
	"merge":                 "docker-archive save -o all.tar docker-archive:one.tar docker-archive:two.tar",
	"concat":                "docker-archive save -o all.tar docker-archive:one.tar docker-archive:two.tar",
	"join":                  "cat FILE.tar.[0-9]* > FILE.tar; docker-archive list FILE.tar.000 reads the parts as they are",
	"split":                 "docker-archive save --split 4G -o images.tar docker-archive:other.tar",
	"delta":                 "docker-archive save --without old.tar --from-file images.txt -o new.tar",
	"patch":                 "docker-archive add old.tar image-archive:delta.tar",
	"apply":                 "docker-archive add old.tar image-archive:delta.tar",
	"update":                "docker-archive add images.tar HOST/app:2",
	"insert":                "docker-archive add images.tar HOST/app:1",
	"put":                   "docker-archive add images.tar HOST/app:1",

	// Changing images.
	"append":                   "docker-archive make --base HOST/app:1 --layer files.tar -o app.tar",
	"mutate":                   "docker-archive make --base HOST/app:1 --label a=b --env A=B -o app.tar",
	"image mod":                "docker-archive make --base HOST/app:1 --label a=b --env A=B -o app.tar",
	"image annotate":           "docker-archive make --base HOST/app:1 --label a=b -o app.tar",
	"annotate":                 "docker-archive make --base HOST/app:1 --label a=b -o app.tar",
	"edit":                     "docker-archive make --base HOST/app:1 --label a=b --env A=B -o app.tar",
	"set":                      "docker-archive make --base HOST/app:1 --label a=b --env A=B -o app.tar",
	"flatten":                  "docker-archive make --base HOST/app:1 --squash -o app.tar",
	"squash":                   "docker-archive make --base HOST/app:1 --squash -o app.tar",
	"rebase":                   "docker-archive make --base app.tar --rebase OLDBASE=NEWBASE -o new.tar",
	"build":                    "docker-archive make --base HOST/base:1 --add DIR:/app -o app.tar",
	"image build":              "docker-archive make --base HOST/base:1 --add DIR:/app -o app.tar",
	"buildx":                   "docker-archive make --base HOST/base:1 --add DIR:/app -o app.tar",
	"bake":                     "docker-archive make --base HOST/base:1 --add DIR:/app -o app.tar",
	"commit":                   "docker-archive make --container ID -o app.tar",
	"container commit":         "docker-archive make --container ID -o app.tar",
	"import":                   "docker-archive make --layer rootfs.tar --tag app:1 -o app.tar; a saved image: docker-archive load app.tar",
	"image create":             "docker-archive make --layer rootfs.tar --tag app:1 -o app.tar",
	"index":                    "docker-archive save --platform linux/amd64 --platform linux/arm64 -o app.tar HOST/app:1",
	"index append":             "docker-archive save --all-platforms -o app.tar HOST/app:1",
	"index filter":             "docker-archive save --platform linux/amd64 --platform linux/arm64 -o app.tar HOST/app:1",
	"index add":                "docker-archive save --all-platforms -o app.tar HOST/app:1",
	"index delete":             "docker-archive save --platform linux/amd64 -o app.tar HOST/app:1",
	"manifest create":          "docker-archive save --all-platforms -o app.tar HOST/app:1",
	"manifest add":             "docker-archive save --all-platforms -o app.tar HOST/app:1",
	"manifest push":            "docker-archive push app.tar HOST",
	"manifest put":             "docker-archive copy --all oci:DIR docker://HOST/app:1",
	"manifest annotate":        "docker-archive make --base HOST/app:1 --label a=b -o app.tar",
	"manifest rm":              "docker-archive remove images.tar app:1",
	"manifest delete":          "docker-archive remove images.tar app:1; a registry's own tools delete there",
	"manifest index":           "docker-archive save --platform linux/amd64 --platform linux/arm64 -o app.tar HOST/app:1",
	"blob put":                 "docker-archive copy oci:DIR docker://HOST/app:1",
	"blob push":                "docker-archive copy oci:DIR docker://HOST/app:1",
	"blob fetch":               "docker-archive files --layer N app.tar; docker-archive copy docker-archive:app.tar oci:DIR writes blobs as files",
	"blob head":                "docker-archive layers HOST/app:1",
	"blob copy":                "docker-archive copy docker://HOST/app:1 docker://OTHER/app:1",
	"blob delete":              "docker-archive remove images.tar app:1 && docker-archive compact images.tar",
	"optimize":                 "docker-archive compact images.tar; docker-archive make --base app.tar --squash -o small.tar",
	"slim":                     "docker-archive make --base app.tar --squash -o small.tar",
	"recompress":               "docker-archive save -o app.tar.zst docker-archive:app.tar",
	"delete":                   "docker-archive remove images.tar app:1; a registry's own tools delete there",
	"del":                      "docker-archive remove images.tar app:1",
	"tag delete":               "docker-archive remove images.tar app:1; a registry's own tools delete there",
	"tag rm":                   "docker-archive remove images.tar app:1",
	"repo delete":              "docker-archive remove images.tar app:1; a registry's own tools delete there",
	"image delete":             "docker-archive remove images.tar app:1",
	"gc":                       "docker-archive compact images.tar",
	"prune":                    "docker-archive compact images.tar",
	"image prune":              "docker-archive compact images.tar",
	"system prune":             "docker-archive compact images.tar",
	"shrink":                   "docker-archive compact images.tar",
	"vacuum":                   "docker-archive compact images.tar",
	"clean":                    "docker-archive compact images.tar",
	"run":                      "docker-archive load app.tar, then docker run app:1",
	"exec":                     "docker-archive load app.tar, then docker run app:1",
	"ps":                       "docker-archive list images.tar",
	"container":                "docker-archive make --container ID -o app.tar; docker-archive load app.tar",
	"container export":         "docker-archive export -o rootfs.tar app.tar; of a container docker-archive make --container ID -o app.tar",
	"compose":                  "docker-archive save --from-yaml compose.yaml -o images.tar",
	"helm":                     "helm template CHART | docker-archive save --from-yaml - -o images.tar",
	"chart":                    "helm template CHART | docker-archive save --from-yaml - -o images.tar",
	"experimental-image-proxy": "docker-archive copy docker://HOST/app:1 docker-archive:app.tar",
	"proxy":                    "docker-archive serve images.tar",
	"cache":                    "docker-archive save --without old.tar -o new.tar HOST/app:1",
	"upgrade":                  "docker-archive version",
	"image exists":             "docker-archive inspect app.tar",
	"exists":                   "docker-archive inspect app.tar",
	"image sign":               "docker-archive copy --sign-by-sigstore-private-key KEY docker-archive:app.tar docker://HOST/app:1",
	"buildx imagetools":        "docker-archive inspect --raw HOST/app:1; docker-archive copy --all docker://HOST/app:1 docker://OTHER/app:1",
	"imagetools":               "docker-archive inspect --raw HOST/app:1; docker-archive copy --all docker://HOST/app:1 docker://OTHER/app:1",
	"context":                  "docker-archive load --context NAME app.tar",
	"kube":                     "docker-archive save --from-yaml manifests.yaml -o images.tar",
	"play":                     "docker-archive save --from-yaml manifests.yaml -o images.tar",
	"generate":                 "docker-archive save --from-yaml manifests.yaml -o images.tar",
	"scout":                    "docker-archive save --referrers -o app.tar HOST/app:1; for a scanner of files: docker-archive export -o rootfs.tar app.tar",
	"registry set":             "docker-archive save --tls-verify=false --cert-dir DIR -o app.tar HOST/app:1",
	"registry whoami":          "docker login HOST stores credentials; docker-archive save --authfile FILE reads them",
	"whoami":                   "docker login HOST stores credentials; docker-archive save --authfile FILE reads them",
	"volume":                   "only images are in archives: docker-archive list images.tar",
	"network":                  "only images are in archives: docker-archive list images.tar",
	"secret":                   "only images are in archives: docker-archive list images.tar",
	"pod":                      "only images are in archives: docker-archive list images.tar",
	"logs":                     "only images are in archives: docker-archive list images.tar",
	"start":                    "docker-archive load app.tar, then docker run app:1",
	"stop":                     "only images are in archives: docker-archive list images.tar",
	"farm":                     "docker-archive make --base HOST/base:1 --add DIR:/app -o app.tar",
	"ll":                       "docker-archive list images.tar; docker-archive files -l app.tar",
	"sha256sum":                "docker-archive save --sha256 -o app.tar HOST/app:1; docker-archive verify app.tar",
	"tar":                      "docker-archive files app.tar; docker-archive extract app.tar DIR",
	"untar":                    "docker-archive extract app.tar DIR",
	"unzip":                    "docker-archive extract app.tar DIR",
	"oci":                      "docker-archive copy docker://HOST/app:1 oci:DIR:app",
	"plugin":                   "ln -s docker-archive ~/.docker/cli-plugins/docker-archive, then docker archive list images.tar",
	"image":                    "docker-archive list images.tar; docker-archive --help",
	"system":                   "docker-archive version; docker-archive --help",
	"unshare":                  "docker-archive extract app.tar DIR needs no root",
	"scp":                      "docker-archive load --host ssh://USER@HOST app.tar",
	"image scp":                "docker-archive load --host ssh://USER@HOST app.tar",
	"wait":                     "docker-archive add --wait images.tar HOST/app:1",
	"resume":                   "docker-archive save --resume -o app.tar HOST/app:1",
	"rootfs":                   "docker-archive export -o rootfs.tar app.tar",
	"grep":                     "docker-archive cat app.tar PATH",
	"head":                     "docker-archive inspect --format '{{.Digest}}' HOST/app:1",
	"open":                     "docker-archive list images.tar; docker-archive files app.tar",
	"view":                     "docker-archive list images.tar; docker-archive files app.tar",
	"from":                     "docker-archive make --base HOST/base:1 --add DIR:/app -o app.tar",
	"dump":                     "docker-archive save -o app.tar HOST/app:1",
	"layout":                   "docker-archive copy docker://HOST/app:1 oci:DIR:app",
	"ctr":                      "docker-archive load --to containerd app.tar",
	"manifests":                "docker-archive inspect --raw app.tar",
	"labels":                   "docker-archive inspect --format '{{json .Labels}}' app.tar",
	"env":                      "docker-archive inspect --format '{{json .Env}}' app.tar",
	"id":                       "docker-archive list --format '{{.ID}}' app.tar",
}

// flagGuesses are flags of those programs, "COMMAND --flag" before "--flag", with the flag
// that does the same.
var flagGuesses = map[string]string{
	"save --multi-image-archive":    "several images need no flag: docker-archive save -o images.tar HOST/app:1 HOST/app:2",
	"save -m":                       "several images need no flag: docker-archive save -o images.tar HOST/app:1 HOST/app:2",
	"save --uncompressed":           "docker-archive save --layout docker -o app.tar HOST/app:1 stores layers uncompressed",
	"save --all":                    "docker-archive save --all-platforms or --all-tags",
	"save -a":                       "docker-archive save --all-platforms or --all-tags",
	"save --include-referrers":      "docker-archive save --referrers",
	"save --recursive":              "docker-archive save --referrers",
	"save -r":                       "docker-archive save --referrers",
	"save --digest-tags":            "docker-archive save --referrers",
	"save --filename":               "docker-archive save -o app.tar HOST/app:1",
	"save --file":                   "docker-archive save -o app.tar HOST/app:1; lists of images: --from-file FILE",
	"save -f":                       "docker-archive save -o app.tar HOST/app:1; lists of images: --from-file FILE",
	"save --images":                 "docker-archive save --from-file images.txt -o images.tar",
	"save --image-list":             "docker-archive save --from-file images.txt -o images.tar",
	"save -l":                       "docker-archive save --from-file images.txt -o images.tar",
	"save --tag":                    "docker-archive save --name app:1 -o app.tar SOURCE, or SOURCE=NAME",
	"save -t":                       "docker-archive save --name app:1 -o app.tar SOURCE, or SOURCE=NAME",
	"save -i":                       "docker-archive load -i app.tar reads an archive; docker-archive save -o app.tar writes one",
	"load --output":                 "docker-archive load -i app.tar reads an archive; docker-archive save -o app.tar writes one",
	"load -o":                       "docker-archive load -i app.tar reads an archive; docker-archive save -o app.tar writes one",
	"load --all":                    "docker-archive load app.tar loads all images that the archive has",
	"push --all":                    "docker-archive push app.tar HOST pushes all images and platforms that the archive has",
	"push --all-tags":               "docker-archive push app.tar HOST pushes all images that the archive has",
	"push -a":                       "docker-archive push app.tar HOST pushes all images that the archive has",
	"push --image-refs":             "docker-archive push --json app.tar HOST",
	"push --tag":                    "docker-archive push app.tar HOST/name:tag",
	"push -t":                       "docker-archive push app.tar HOST/name:tag",
	"list --all":                    "docker-archive list app.tar lists all images",
	"list -a":                       "docker-archive list app.tar lists all images",
	"list --filter":                 "docker-archive list --format '{{.Name}}' app.tar | grep NAME",
	"list -f":                       "docker-archive list --format TEMPLATE app.tar",
	"list -l":                       "docker-archive list --no-trunc app.tar",
	"inspect --type":                "docker-archive inspect app.tar is always about an image",
	"inspect --size":                "docker-archive list app.tar; docker-archive layers app.tar",
	"inspect --pretty":              "docker-archive inspect app.tar is indented; --format takes a template",
	"inspect --digest":              "docker-archive inspect --format '{{.Digest}}' app.tar",
	"inspect --list":                "docker-archive inspect --raw app.tar",
	"layers --human":                "docker-archive layers app.tar; --json has numbers",
	"layers -H":                     "docker-archive layers app.tar; --json has numbers",
	"layers --format":               "docker-archive layers --json app.tar",
	"verify --tarball":              "docker-archive verify app.tar",
	"verify --remote":               "docker-archive save -o app.tar HOST/app:1 && docker-archive verify app.tar",
	"verify --deep":                 "docker-archive verify app.tar reads every byte",
	"verify --fast":                 "docker-archive verify app.tar reads every byte",
	"docker-archive -t":             "docker-archive list images.tar; docker-archive files app.tar",
	"docker-archive -x":             "docker-archive extract app.tar DIR",
	"docker-archive -l":             "docker-archive list images.tar",
	"verify --public-key":           "docker-archive verify --key cosign.pub app.tar",
	"verify --certificate-identity": "docker-archive verify --key cosign.pub app.tar; keyless signatures are not checked",
	"remove --force":                "docker-archive remove images.tar app:1 asks nothing",
	"remove -f":                     "docker-archive remove images.tar app:1 asks nothing",
	"remove --all":                  "delete the file: rm images.tar; docker-archive remove takes names",
	"remove -a":                     "delete the file: rm images.tar; docker-archive remove takes names",
	"serve --port":                  "docker-archive serve --listen :5000 app.tar",
	"serve -p":                      "docker-archive serve --listen :5000 app.tar",
	"serve --address":               "docker-archive serve --listen HOST:5000 app.tar",
	"serve --directory":             "docker-archive serve DIR",
	"serve --root":                  "docker-archive serve DIR",
	"copy --recursive":              "docker-archive save --referrers -o app.tar HOST/app:1 && docker-archive push app.tar OTHER",
	"copy -r":                       "docker-archive save --referrers -o app.tar HOST/app:1 && docker-archive push app.tar OTHER",
	"copy --referrers":              "docker-archive save --referrers -o app.tar HOST/app:1 && docker-archive push app.tar OTHER",
	"copy --include-referrers":      "docker-archive save --referrers -o app.tar HOST/app:1 && docker-archive push app.tar OTHER",
	"copy --all-tags":               "docker-archive save --all-tags -o app.tar HOST/app && docker-archive push app.tar OTHER",
	"copy --dest-format":            "docker-archive copy --format oci",
	"make --file":                   "docker-archive make runs no Dockerfile; --base, --add and --layer say what is in the image",
	"make --append":                 "docker-archive make --layer FILE",
	"make --build-arg":              "docker-archive make --env NAME=VALUE",
	"extract --output":              "docker-archive extract app.tar DIR",
	"extract -o":                    "docker-archive extract app.tar DIR",
	"extract -C":                    "docker-archive extract app.tar DIR",
	"extract --directory":           "docker-archive extract app.tar DIR",
	"export --file":                 "docker-archive export -o FILE app.tar",
	"export -f":                     "docker-archive export -o FILE app.tar",
	"files --recursive":             "docker-archive files app.tar lists all levels; --depth N fewer",
	"files -R":                      "docker-archive files app.tar lists all levels; --depth N fewer",
	"files -a":                      "docker-archive files app.tar lists all files",
	"files -r":                      "docker-archive files app.tar lists all levels; --depth N fewer",
	"diff --name-only":              "docker-archive diff a.tar b.tar; --stat counts",

	"--insecure":                 "--tls-verify=false",
	"--plain-http":               "--tls-verify=false",
	"--insecure-registry":        "--tls-verify=false",
	"--allow-insecure":           "--tls-verify=false",
	"--http":                     "--tls-verify=false",
	"-k":                         "--tls-verify=false",
	"--skip-tls-verify":          "--tls-verify=false",
	"--tls":                      "--tls-verify",
	"--ca-file":                  "--cert-dir DIR, a directory with the CA's as *.crt",
	"--cacert":                   "--cert-dir DIR, a directory with the CA's as *.crt",
	"--tlscacert":                "--cert-dir DIR, a directory with ca.pem, cert.pem and key.pem",
	"--registry-config":          "--authfile FILE",
	"--auth-file":                "--authfile FILE",
	"--auth":                     "--authfile FILE or --creds USER",
	"-u":                         "--username USER, or --creds USER:PASSWORD",
	"-p":                         "--password-stdin, with --username USER",
	"--user":                     "--username USER, or --creds USER:PASSWORD",
	"--pass":                     "--password-stdin, with --username USER",
	"--src-user":                 "--src-creds USER:PASSWORD",
	"--dest-user":                "--dest-creds USER:PASSWORD",
	"--retry":                    "--retry-times N",
	"--retries":                  "--retry-times N",
	"--max-retries":              "--retry-times N",
	"--concurrency":              "--jobs N",
	"--parallel":                 "--jobs N",
	"--jobs-limit":               "--jobs N",
	"-j":                         "--jobs N",
	"--max-concurrent-downloads": "--jobs N",
	"--image-parallel-copies":    "--jobs N",
	"--arch":                     "--platform OS/ARCH[/VARIANT]",
	"--os":                       "--platform OS/ARCH[/VARIANT]",
	"--variant":                  "--platform OS/ARCH[/VARIANT]",
	"--platforms":                "--platform OS/ARCH[/VARIANT]",
	"--architecture":             "--platform OS/ARCH[/VARIANT]",
	"--all-arch":                 "--all-platforms",
	"--all-architectures":        "--all-platforms",
	"--all-manifests":            "--all-platforms",
	"--verbose":                  "--debug",
	"--verbosity":                "--debug",
	"-v":                         "--debug",
	"-d":                         "--debug",
	"-D":                         "--debug",
	"--log-level":                "--debug",
	"--loglevel":                 "--debug",
	"--logopt":                   "--debug",
	"--trace":                    "--debug",
	"--silent":                   "--quiet",
	"-s":                         "--quiet",
	"--no-progress":              "--quiet",
	"--no-tty":                   "--quiet",
	"--progress":                 "--quiet turns the bars off; without a terminal there are none",
	"--timeout":                  "--command-timeout DURATION",
	"--overwrite":                "--force",
	"--dryrun":                   "--dry-run",
	"-n":                         "--dry-run",
	"--continue":                 "--keep-going",
	"--ignore-errors":            "--keep-going",
	"--file":                     "--output FILE",
	"--out":                      "--output FILE",
	"--dest-file":                "--output FILE",
	"--outfile":                  "--output FILE",
	"--destination":              "--output FILE",
	"--rename":                   "--name NAME, or SOURCE=NAME",
	"--tag":                      "--name NAME[:TAG]",
	"--temp-dir":                 "--tmpdir DIR",
	"--tempdir":                  "--tmpdir DIR",
	"--temp":                     "--tmpdir DIR",
	"--cache":                    "docker-archive save --without OLD.tar leaves out what another archive has",
	"--cache_path":               "docker-archive save --without OLD.tar leaves out what another archive has",
	"--no-cache":                 "docker-archive keeps no cache",
	"--output-format":            "--json or --format TEMPLATE",
	"--digest":                   "docker-archive inspect --format '{{.Digest}}' IMAGE",
	"--store":                    "an archive is the store: docker-archive list images.tar",
	"--root":                     "containers-storage:[DIR]NAME is an image of another store: docker-archive save -o app.tar containers-storage:[DIR]app:1",
	"--oci-layout":               "oci:DIR:TAG is an image of a layout: docker-archive inspect oci:DIR:TAG",
	"--oci-layout-path":          "oci:DIR:TAG is an image of a layout: docker-archive inspect oci:DIR:TAG",
	"--to-oci-layout":            "docker-archive copy docker://HOST/app:1 oci:DIR:app",
	"--from-oci-layout":          "docker-archive copy oci:DIR:app docker://HOST/app:1",
	"--distribution-spec":        "referrers are found by the API and by tags; docker-archive save --referrers needs no flag",
	"--user-agent-prefix":        "docker-archive has none: registries see docker-archive/VERSION",
	"--config":                   "DOCKER_CONFIG=DIR docker-archive load app.tar",
	"--context":                  "DOCKER_CONTEXT, or docker-archive load --context NAME",
	"--host":                     "--daemon-host HOST; docker-archive load --host HOST",
	"-H":                         "--daemon-host HOST; docker-archive load --host HOST",
	"--url":                      "--daemon-host HOST; docker-archive load --host HOST",
	"--no-truncate":              "--no-trunc",
	"--all":                      "--all-platforms of docker-archive save; --all of docker-archive copy",
	"--sign-by":                  "docker-archive copy --sign-by-sigstore-private-key KEY",
	"--key":                      "docker-archive verify --key cosign.pub app.tar",
}

// guessError is a command line of another program, with the line of this one.
type guessError struct {
	error
	hint string
}

// Unwrap returns the error.
func (e guessError) Unwrap() error { return e.error }

// guess returns the line to use instead of an unknown command, or "". More words than the first
// count if they are the name of a command together.
func guess(words []string) string {
	for n := min(len(words), 2); n > 0; n-- {
		if hint, ok := guesses[strings.ToLower(strings.Join(words[:n], " "))]; ok {
			return hint
		}
	}
	if len(words) == 0 {
		return ""
	}
	return guessImage(words[0])
}

// guessImage returns the line for an image or an archive where a command should be.
func guessImage(word string) string {
	switch {
	case isArchive(word):
		return "docker-archive list " + shortened(word)
	case strings.ContainsAny(word, ":/"):
		return "docker-archive save -o app.tar " + shortened(word)
	}
	return ""
}

// guessFlag returns the replacement for a flag that a command lacks, or "".
func guessFlag(cmd *cobra.Command, unknown *pflag.NotExistError) string {
	flag := "--" + unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		flag = "-" + unknown.GetSpecifiedName()
	}
	if hint, ok := flagGuesses[cmd.Name()+" "+flag]; ok {
		return hint
	}
	hint := flagGuesses[flag]
	if name, ok := strings.CutPrefix(hint, "--"); ok && hint != "" {
		name, _, _ = strings.Cut(strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(" ,;[", r) })[0], "=")
		if cmd.Flags().Lookup(name) == nil {
			return "" // There is none of that meaning either.
		}
	}
	return hint
}

// explain completes the error of a command line that has no command of ours, which the
// flags before it may hide.
func explain(root *cobra.Command, args []string, err error) error {
	var usage usageError
	var of commandError
	if err == nil || !errors.As(err, &usage) {
		return err
	}
	words := wordsOf(root, args)
	topic := len(words) > 1 && words[0] == "help"
	if topic {
		words = words[1:]
	}
	if len(words) == 0 {
		return err
	}
	isRoot := !errors.As(err, &of) || of.command == root.CommandPath()
	if hint := guesses[strings.ToLower(strings.Join(words[:min(len(words), 2)], " "))]; hint != "" && len(words) > 1 && !topic {
		return guessError{commandError{usagef("unknown command %q", words[0]+" "+words[1]), root.CommandPath()}, hint}
	}
	if own, _, found := root.Find(words[:1]); found == nil && own != root {
		if !isRoot || topic {
			return err
		}
		return guessError{err, "flags of " + own.Name() + " stand behind it: docker-archive " + own.Name() + " …"}
	}
	if hint := guess(words); hint != "" {
		return guessError{commandError{usagef("unknown command %q", words[0]), root.CommandPath()}, hint}
	}
	return err
}

// wordsOf returns the arguments that can be the names of commands.
func wordsOf(root *cobra.Command, args []string) (words []string) {
	for _, i := range wordsAt(root, args) {
		words = append(words, args[i])
	}
	return words
}

// wordsAt returns the indexes of the arguments that can be names of commands. The word behind an
// unknown flag is the flag's value, unless it is a command of any program.
func wordsAt(root *cobra.Command, args []string) (at []int) {
	valued := false
	for i, arg := range args {
		switch {
		case arg == "--":
			for i++; i < len(args); i++ {
				at = append(at, i)
			}
			return at
		case strings.HasPrefix(arg, "-"):
			valued = len(at) == 0 && !strings.Contains(arg, "=") && !isSwitch(root, arg)
			continue
		case valued && !isCommand(root, arg):
			valued = false // The value of the flag.
			continue
		}
		valued, at = false, append(at, i)
	}
	return at
}

// isSwitch reports whether a flag is one of ours that takes no value.
func isSwitch(root *cobra.Command, arg string) bool {
	var flag *pflag.Flag
	if name, long := strings.CutPrefix(arg, "--"); long {
		flag = root.PersistentFlags().Lookup(name)
	}
	return flag != nil && flag.NoOptDefVal != ""
}

func isCommand(root *cobra.Command, word string) bool {
	own, _, err := root.Find([]string{word})
	return err == nil && own != root || guesses[word] != "" || synonyms[word] != nil || word == "image"
}
