package copying_test

import (
	"encoding/json"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// spoilers are all faults. do reports whether it applied.
var spoilers = []struct {
	name string
	do   func(*making) bool
}{
	{"layers swapped", (*making).swapLayers},
	{"a layer lost", func(m *making) bool {
		return m.any(func(x *telling) bool {
			if len(x.layers) == 0 {
				return false
			}
			n := m.IntN(len(x.layers))
			x.layers = slices.Delete(x.layers, n, n+1)
			return true
		})
	}},
	{"all layers lost", func(m *making) bool {
		return m.any(func(x *telling) bool {
			lost := len(x.layers) > 0
			x.layers = nil
			return lost
		})
	}},
	{"a layer twice", func(m *making) bool {
		return m.any(func(x *telling) bool {
			if len(x.layers) > 0 {
				x.layers = append(x.layers, x.layers[m.IntN(len(x.layers))])
			}
			return len(x.layers) > 0
		})
	}},
	{"layers shifted", func(m *making) bool {
		return m.any(func(x *telling) bool {
			if len(x.layers) < 2 {
				return false
			}
			x.layers = append(slices.Clone(x.layers[1:]), x.layers[0])
			return true
		})
	}},
	{"another layer", func(m *making) bool {
		return m.any(func(x *telling) bool {
			if len(x.layers) > 0 {
				x.layers[m.IntN(len(x.layers))] = told{Layer: imagetest.Plain(100+m.Uint64N(3), 50)}
			}
			return len(x.layers) > 0
		})
	}},
	{"a layer that is nowhere", func(m *making) bool {
		return m.any(func(x *telling) bool {
			if len(x.layers) == 0 {
				return false
			}
			l := &x.layers[m.IntN(len(x.layers))]
			l.Digest, l.more, l.Blob = digest.FromString("nowhere"), int64(len(l.Blob)), nil
			return true
		})
	}},
	{"the config as a layer", func(m *making) bool {
		return m.any(func(x *telling) bool {
			if len(x.layers) > 0 {
				x.layers[0].Layer = imagetest.NewLayer(x.config, x.config, v1.MediaTypeImageLayer)
			}
			return len(x.layers) > 0
		})
	}},
	{"layer size", func(m *making) bool {
		return m.manifest(func(x *telling) bool {
			if len(x.layers) > 0 {
				x.layers[m.IntN(len(x.layers))].more = m.Int64N(3) - 1
			}
			return len(x.layers) > 0
		})
	}},
	{"config size", func(m *making) bool {
		return m.manifest(func(x *telling) bool { x.moreConfig = 1; return true })
	}},
	{"manifest size", func(m *making) bool {
		return m.manifest(func(x *telling) bool { x.more = 1; return true })
	}},
	{"layer type", func(m *making) bool {
		return m.manifest(func(x *telling) bool {
			if len(x.layers) == 0 {
				return false
			}
			l := &x.layers[m.IntN(len(x.layers))]
			types := []string{v1.MediaTypeImageLayer, v1.MediaTypeImageLayerGzip, v1.MediaTypeImageLayerZstd}
			was := l.MediaType
			l.MediaType = types[m.IntN(len(types))]
			return l.MediaType != was
		})
	}},
	{"config type", func(m *making) bool {
		return m.manifest(func(x *telling) bool {
			types := []string{"application/octet-stream", "application/json", "text/html", ""}
			x.configType = types[m.IntN(len(types))]
			return true
		})
	}},
	{"another image's config", func(m *making) bool {
		return m.any(func(x *telling) bool {
			other := m.authors[m.IntN(len(m.authors))]
			x.config = other.config
			return other != x.of
		})
	}},
	{"a config that is nowhere", func(m *making) bool {
		return m.any(func(x *telling) bool { x.configDigest = digest.FromString("nowhere"); return true })
	}},
	{"diff IDs swapped", func(m *making) bool {
		return m.spoilIDs(func(ids []string, _ *telling) []string { slices.Reverse(ids); return ids })
	}},
	{"a diff ID lost", func(m *making) bool {
		return m.spoilIDs(func(ids []string, _ *telling) []string { return ids[:len(ids)-1] })
	}},
	{"a diff ID too many", func(m *making) bool {
		return m.spoilIDs(func(ids []string, _ *telling) []string { return append(ids, ids[0]) })
	}},
	{"diff IDs that are digests", func(m *making) bool {
		return m.spoilIDs(func(ids []string, x *telling) []string {
			for n, l := range x.layers {
				if n < len(ids) {
					ids[n] = l.Digest.String()
				}
			}
			return ids
		})
	}},
	{"a diff ID that is none", func(m *making) bool {
		return m.spoilIDs(func(ids []string, _ *telling) []string { ids[0] = "sha256:../x"; return ids })
	}},
	{"no diff IDs", func(m *making) bool {
		return m.spoilIDs(func([]string, *telling) []string { return nil })
	}},
	{"another name", func(m *making) bool {
		return m.any(func(x *telling) bool {
			name := m.authors[m.IntN(len(m.authors))].name
			changed := !slices.Equal(x.names, []string{name})
			x.names = []string{name}
			return changed
		})
	}},
	{"one more name", func(m *making) bool {
		return m.any(func(x *telling) bool {
			x.names = append(x.names, m.authors[m.IntN(len(m.authors))].name)
			return true
		})
	}},
	{"no name", func(m *making) bool {
		return m.any(func(x *telling) bool { x.names = nil; return true })
	}},
	{"a free name", func(m *making) bool {
		return m.manifest(func(x *telling) bool { x.names = []string{"V1.0_RC"}; return true })
	}},
	{"a name by digest", func(m *making) bool {
		return m.manifest(func(x *telling) bool {
			x.names = []string{byDigest}
			return true
		})
	}},
	{"a file lost", func(*making) bool { return true }},
	{"a file cut", func(*making) bool { return true }},
	{"a file damaged", func(*making) bool { return true }},
	{"manifest.json is null", func(m *making) bool { return m.form.docker }},
	{"index.json is empty", func(m *making) bool { return m.form.oci }},
	{"the archive cut", func(m *making) bool { m.cut = true; return true }},
}

// spoilFiles are the spoilers of files that have been written.
var spoilFiles = map[string]func(*making){
	"a file lost": func(m *making) {
		n := m.content()
		delete(m.files, m.names[n])
		m.names = slices.Delete(m.names, n, n+1)
	},
	"a file cut": func(m *making) {
		name := m.names[m.content()]
		m.files[name] = m.files[name][:len(m.files[name])/2]
	},
	"a file damaged": func(m *making) {
		name := m.names[m.content()]
		if data := slices.Clone(m.files[name]); len(data) > 0 {
			data[m.IntN(len(data))] ^= 1 << m.IntN(8)
			m.files[name] = data
		}
	},
	"manifest.json is null": func(m *making) { m.files["manifest.json"] = []byte("null") },
	"index.json is empty":   func(m *making) { m.files["index.json"] = []byte(`{"schemaVersion":2,"manifests":[]}`) },
}

// content returns the number of a file that is no table of contents. There always
// is a config.
func (m *making) content() int {
	for {
		n := m.IntN(len(m.names))
		if !slices.Contains([]string{"index.json", "manifest.json", "oci-layout"}, m.names[n]) {
			return n
		}
	}
}

// any spoils one of all tellings.
func (m *making) any(spoil func(*telling) bool) bool {
	all := slices.Concat(m.oci, m.docker)
	return spoil(all[m.IntN(len(all))])
}

// manifest spoils one that is a manifest, if there are any.
func (m *making) manifest(spoil func(*telling) bool) bool {
	return len(m.oci) > 0 && spoil(m.oci[m.IntN(len(m.oci))])
}

func (m *making) swapLayers() bool {
	return m.any(func(x *telling) bool {
		if len(x.layers) < 2 {
			return false
		}
		n := 1 + m.IntN(len(x.layers)-1)
		x.layers[0], x.layers[n] = x.layers[n], x.layers[0]
		return x.layers[0].Digest != x.layers[n].Digest
	})
}

// spoilIDs changes the diff IDs of one telling, or of all tellings of the image.
func (m *making) spoilIDs(spoil func([]string, *telling) []string) bool {
	return m.any(func(x *telling) bool {
		var config map[string]any
		if err := json.Unmarshal(x.config, &config); err != nil {
			return false
		}
		var ids []string
		for _, id := range config["rootfs"].(map[string]any)["diff_ids"].([]any) {
			ids = append(ids, id.(string))
		}
		if len(ids) == 0 {
			return false
		}
		config["rootfs"].(map[string]any)["diff_ids"] = append([]string{}, spoil(slices.Clone(ids), x)...)
		raw, err := json.Marshal(config)
		if err != nil {
			return false
		}
		if m.IntN(2) == 0 {
			x.config = raw
			return true
		}
		for _, other := range slices.Concat(m.oci, m.docker) {
			if other.of == x.of {
				other.config = raw
			}
		}
		return true
	})
}
