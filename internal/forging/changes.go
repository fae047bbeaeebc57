package forging

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// change is one change of an archive.
type change struct {
	name string
	do   func(c *content)
}

// forgeries returns all changes, by the document that they are made to. Some are harmless
// to every client; the tests ask the clients.
func forgeries(f *forger) []change {
	var all []change
	all = append(all, f.inIndex()...)
	all = append(all, f.inNested()...)
	all = append(all, f.inItems()...)
	all = append(all, f.inRepositories()...)
	all = append(all, f.inEntries()...)
	return all
}

// top is what a name in index.json stands for in the signed archive.
func (f *forger) top() v1.Descriptor { return f.descriptors[0] }

// with returns index.json's descriptors with others before or behind them.
func (f *forger) with(before, after []v1.Descriptor) []v1.Descriptor {
	var all []v1.Descriptor
	all = append(all, before...)
	all = append(all, f.descriptors...)
	return append(all, after...)
}

func annotated(d v1.Descriptor, keysAndValues ...string) v1.Descriptor {
	d.Annotations = map[string]string{}
	for n := 0; n < len(keysAndValues); n += 2 {
		d.Annotations[keysAndValues[n]] = keysAndValues[n+1]
	}
	return d
}

const (
	imageName = "io.containerd.image.name"
	subject   = "io.containerd.manifest.subject"
	ownTag    = "io.github.dockerarchive.tag"
)

func (f *forger) inIndex() []change {
	evil := f.evil.manifest
	signatureTag := Repository + ":" + strings.Replace(string(f.top().Digest), ":", "-", 1) + ".sig"
	var all []change
	set := func(name string, descriptors ...v1.Descriptor) {
		all = append(all, change{"index.json " + name, func(c *content) { f.setIndex(c, descriptors...) }})
	}
	raw := func(name, format string) {
		all = append(all, change{"index.json " + name, func(c *content) {
			good, bad := encodeList(f.descriptors...), encodeList(Named(evil, Repository+":1"))
			c.set("index.json", []byte(strings.NewReplacer("GOOD", good, "EVIL", bad).Replace(format)))
		}})
	}
	swapped := f.with(nil, nil)
	swapped[0] = Named(evil, Repository+":1")
	set("swap", swapped...)
	for name, d := range map[string]v1.Descriptor{
		"add a tag":             Named(evil, Repository+":2"),
		"add a repository":      Named(evil, "example.com/evil:1"),
		"add the same name":     Named(evil, Repository+":1"),
		"add without a name":    annotated(evil),
		"add a bare tag":        annotated(evil, v1.AnnotationRefName, "2"),
		"add a free name":       annotated(evil, v1.AnnotationRefName, "V1.0_RC"),
		"add a ref.name":        annotated(evil, v1.AnnotationRefName, Repository+":2"),
		"add a signature's tag": Named(evil, signatureTag),
		"annotate a tag":        annotated(evil, ownTag, signatureTag),
		"annotate a subject":    annotated(evil, subject, string(f.top().Digest)),
		"annotate both":         annotated(evil, subject, string(f.top().Digest), ownTag, signatureTag),
		"annotate attestation":  annotated(evil, "vnd.docker.reference.type", "attestation-manifest"),
	} {
		set(name+" behind", f.with(nil, []v1.Descriptor{d})...)
		set(name+" before", f.with([]v1.Descriptor{d}, nil)...)
	}
	unknown := evil
	unknown.Platform = &v1.Platform{OS: "unknown", Architecture: "unknown"}
	set("unknown platform", f.with(nil, []v1.Descriptor{unknown})...)
	artifact := evil
	artifact.ArtifactType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	set("artifact type", f.with(nil, []v1.Descriptor{artifact})...)
	renamed := func(d v1.Descriptor) []v1.Descriptor { return append([]v1.Descriptor{d}, f.descriptors[1:]...) }
	set("rename", renamed(Named(f.top(), "example.com/evil:1"))...)
	set("rename for podman", renamed(annotated(f.top(), imageName, Repository+":1", v1.AnnotationRefName, "example.com/evil:1"))...)
	set("rename for containerd", renamed(annotated(f.top(), imageName, "example.com/evil:1", v1.AnnotationRefName, Repository+":1"))...)
	set("rename by ours", renamed(annotated(f.top(), ownTag, "example.com/evil:1", v1.AnnotationRefName, "1"))...)
	set("rename to a bare name", renamed(annotated(f.top(), v1.AnnotationRefName, "evil"))...)
	set("retag", renamed(Named(f.top(), Repository+":2"))...)
	set("reorder", append(append([]v1.Descriptor{}, f.descriptors[1:]...), f.top())...)
	set("duplicate", f.with(nil, f.descriptors)...)
	set("no signatures", f.top())
	typed := evil
	typed.MediaType = v1.MediaTypeImageIndex
	set("another type", f.with(nil, []v1.Descriptor{Named(typed, Repository+":2")})...)
	raw("key twice", `{"schemaVersion":2,"manifests":EVIL,"manifests":GOOD}`)
	raw("key twice, reversed", `{"schemaVersion":2,"manifests":GOOD,"manifests":EVIL}`)
	raw("another case", `{"schemaVersion":2,"Manifests":EVIL,"manifests":GOOD}`)
	raw("another case, reversed", `{"schemaVersion":2,"manifests":GOOD,"Manifests":EVIL}`)
	raw("another s", `{"schemaVersion":2,"manifests":GOOD,"manifeſts":EVIL}`)
	all = append(all, change{"index.json without oci-layout", func(c *content) { c.remove("oci-layout") }})
	all = append(all, change{"index.json of nothing", func(c *content) { f.setIndex(c); f.setItems(c, f.evil.item) }})
	return all
}

func encodeList(descriptors ...v1.Descriptor) string {
	data, err := json.Marshal(descriptors)
	if err != nil {
		panic(err) // It is made of strings.
	}
	return string(data)
}

// inNested hides images in an unsigned index.
func (f *forger) inNested() []change {
	evil := f.evil.manifest
	good := f.one.manifest
	var all []change
	nest := func(name string, depth int, children ...v1.Descriptor) {
		all = append(all, change{"nested index " + name, func(c *content) {
			var top v1.Descriptor
			for range depth {
				index := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: children}
				index.SchemaVersion = 2
				data, err := json.Marshal(index)
				if err != nil {
					panic(err) // It is made of strings.
				}
				top = describe(v1.MediaTypeImageIndex, data)
				c.set(blobPath(top.Digest), data)
				children = []v1.Descriptor{top}
			}
			f.setIndex(c, append([]v1.Descriptor{Named(top, Repository+":1")}, f.descriptors[1:]...)...)
		}})
	}
	attestation := annotated(evil, "vnd.docker.reference.type", "attestation-manifest", "vnd.docker.reference.digest", string(good.Digest))
	unknown := attestation
	unknown.Platform = &v1.Platform{OS: "unknown", Architecture: "unknown"}
	other := evil
	other.Platform = &v1.Platform{OS: "linux", Architecture: "s390x"}
	missing := evil
	missing.Digest = digest.FromString("missing")
	artifact := evil
	artifact.ArtifactType = "application/spdx+json"
	nest("swap", 1, evil)
	nest("add", 1, good, evil)
	nest("add before", 1, evil, good)
	nest("another platform", 1, good, other)
	nest("attestation", 1, good, attestation)
	nest("unknown", 1, good, unknown)
	nest("artifact", 1, good, artifact)
	nest("missing", 1, good, missing)
	nest("in another", 2, evil)
	nest("in five", 5, evil)
	nest("in forty", 40, evil)
	nest("named", 1, good, annotated(good, v1.AnnotationRefName, "example.com/evil:1"))
	return all
}

func (f *forger) inItems() []change {
	var all []change
	set := func(name string, items ...map[string]any) {
		all = append(all, change{"manifest.json " + name, func(c *content) { f.setItems(c, items...) }})
	}
	raw := func(name, format string) {
		all = append(all, change{"manifest.json " + name, func(c *content) {
			one, evil := f.one.item, f.evil.item
			c.set("manifest.json", []byte(strings.NewReplacer(
				"GOOD", one["Config"].(string), "EVIL", evil["Config"].(string),
				"LAYER", one["Layers"].([]string)[0], "HOSTILE", evil["Layers"].([]string)[0], "NAME", Repository+":1").Replace(format)))
		}})
	}
	named := func(item map[string]any, names ...string) map[string]any {
		return map[string]any{"Config": item["Config"], "Layers": item["Layers"], "RepoTags": names}
	}
	one, evil := f.one.item, f.evil.item
	set("swap", evil)
	set("swap the config", map[string]any{"Config": evil["Config"], "Layers": one["Layers"], "RepoTags": one["RepoTags"]})
	set("swap the layers", map[string]any{"Config": one["Config"], "Layers": evil["Layers"], "RepoTags": one["RepoTags"]})
	set("add a tag", one, named(evil, Repository+":2"))
	set("add before", named(evil, Repository+":2"), one)
	set("add a repository", one, named(evil, "example.com/evil:1"))
	set("add without a name", one, named(evil))
	set("add without a name before", named(evil), one)
	set("add the same name", one, evil)
	set("add the same name before", evil, one)
	set("add the same name in short", one, named(evil, "index.docker.io/library/app:1"))
	set("rename", named(one, "example.com/evil:1"))
	set("add a name", named(one, Repository+":1", "example.com/evil:1"))
	set("rename and add", named(one, "example.com/evil:1"), named(evil, Repository+":1"))
	set("retag", named(one, Repository+":2"))
	set("no names", named(one))
	set("duplicate", one, one)
	set("of nothing")
	source := map[string]any{f.one.layer.Digest.String(): v1.Descriptor{
		MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar", Digest: f.evil.layer.Digest, Size: f.evil.layer.Size, URLs: []string{"https://example.com/layer"},
	}}
	set("layer source", map[string]any{"Config": one["Config"], "Layers": one["Layers"], "RepoTags": one["RepoTags"], "LayerSources": source})
	raw("key twice", `[{"Config":"EVIL","Config":"GOOD","RepoTags":["NAME"],"Layers":["LAYER"]}]`)
	raw("key twice, reversed", `[{"Config":"GOOD","Config":"EVIL","RepoTags":["NAME"],"Layers":["LAYER"],"Layers":["HOSTILE"]}]`)
	raw("another case", `[{"config":"EVIL","Config":"GOOD","RepoTags":["NAME"],"layers":["HOSTILE"],"Layers":["LAYER"]}]`)
	raw("another case, reversed", `[{"Config":"GOOD","config":"EVIL","RepoTags":["NAME"],"Layers":["LAYER"],"layers":["HOSTILE"]}]`)
	raw("more behind it", `[{"Config":"GOOD","RepoTags":["NAME"],"Layers":["LAYER"]}] [{"Config":"EVIL","RepoTags":["NAME"],"Layers":["HOSTILE"]}]`)
	raw("more before it", `[{"Config":"EVIL","RepoTags":["NAME"],"Layers":["HOSTILE"]}] [{"Config":"GOOD","RepoTags":["NAME"],"Layers":["LAYER"]}]`)
	all = append(all,
		change{"manifest.json alone", func(c *content) { f.setItems(c, evil); c.remove("index.json"); c.remove("oci-layout") }},
		change{"manifest.json without index.json", func(c *content) { c.remove("index.json"); c.remove("oci-layout") }},
		change{"manifest.json gone", func(c *content) { c.remove("manifest.json") }})
	return all
}

// inRepositories adds images as Docker before 1.10 wrote them.
func (f *forger) inRepositories() []change {
	id := strings.Repeat("ab", 32)
	add := func(c *content, name, tag string) {
		c.set(id+"/VERSION", []byte("1.0"))
		c.set(id+"/json", []byte(`{"id":"`+id+`","created":"2020-01-01T00:00:00Z","os":"linux","architecture":"amd64","config":{"Cmd":["/evil"]}}`))
		c.set(id+"/layer.tar", f.evil.blobs[f.evil.layer.Digest])
		if name != "" {
			c.set("repositories", []byte(`{"`+name+`":{"`+tag+`":"`+id+`"}}`))
		}
	}
	return []change{
		{"repositories add", func(c *content) { add(c, Repository, "1") }},
		{"repositories add a tag", func(c *content) { add(c, Repository, "2") }},
		{"repositories without manifest.json", func(c *content) { add(c, Repository, "1"); c.remove("manifest.json") }},
		{"repositories renamed without manifest.json", func(c *content) { add(c, "example.com/evil", "1"); c.remove("manifest.json") }},
		{"layer directories without a name", func(c *content) { add(c, "", ""); c.remove("manifest.json") }},
		{"repositories alone", func(c *content) {
			add(c, Repository, "1")
			c.remove("manifest.json")
			c.remove("index.json")
			c.remove("oci-layout")
		}},
	}
}

// inEntries has entries twice, or lets links lead elsewhere.
func (f *forger) inEntries() []change {
	var all []change
	// replaced returns what evil would have for an entry, if it were in a variant of its own.
	replaced := func(name string) []byte {
		c := f.good()
		switch name {
		case "index.json":
			f.setIndex(c, Named(f.evil.manifest, Repository+":1"))
		case "manifest.json":
			f.setItems(c, f.evil.item)
		default:
			return bytes.Clone(f.evil.blobs[f.evil.config.Digest])
		}
		return c.get(name)
	}
	config := blobPath(f.one.config.Digest)
	for _, name := range []string{"index.json", "manifest.json", config} {
		for _, other := range []string{name, "./" + name, "x/../" + name, "/" + name, strings.ToUpper(name)} {
			label := name
			if name == config {
				label = "config"
			}
			all = append(all,
				change{label + " twice as " + strings.ReplaceAll(other, f.one.config.Digest.Encoded(), "HEX"), func(c *content) {
					c.entries = append(c.entries, contentEntry{name: other, data: replaced(name)})
				}},
				change{label + " twice, first as " + strings.ReplaceAll(other, f.one.config.Digest.Encoded(), "HEX"), func(c *content) {
					c.entries = append([]contentEntry{{name: other, data: replaced(name)}}, c.entries...)
				}},
				change{label + " as a link as " + strings.ReplaceAll(other, f.one.config.Digest.Encoded(), "HEX"), func(c *content) {
					c.set("evil.json", replaced(name))
					c.entries = append(c.entries, contentEntry{name: other, link: "/evil.json"})
				}})
		}
	}
	all = append(all, change{"config behind a link", func(c *content) {
		c.set("evil.json", replaced(config))
		c.remove(config)
		c.entries = append(c.entries, contentEntry{name: config, link: "../../evil.json"})
	}}, change{"config in a directory that is a link", func(c *content) {
		c.entries = append([]contentEntry{{name: "blobs", link: "other"}}, c.entries...)
		c.set("other"+strings.TrimPrefix(config, "blobs"), replaced(config))
	}})
	return all
}
