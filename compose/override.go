package compose

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// ParseOverrides reads a config for Override: that of an image, or only what one says of
// containers, as docker inspect shows it in the field Config. The error wraps
// errdef.ErrDamaged or ErrLimit.
func ParseOverrides(raw []byte) (*Config, error) {
	c, err := ParseConfig(raw)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"config", "rootfs", "architecture", "os", "created", "history", "author"} {
		if _, ok := c.image[name]; ok {
			return c, nil
		}
	}
	run := &Config{}
	return run, image.Decode("config", raw, &run.run)
}

// asGiven are the fields that Override takes as they are, if they are there: they have
// no value that means nothing.
var asGiven = map[string]bool{
	"AttachStderr": true, "AttachStdin": true, "AttachStdout": true, "OpenStdin": true, "StdinOnce": true, "Tty": true,
}

// ofImage are the fields of an image's config that Override heeds.
var ofImage = []string{"architecture", "author", "comment", "container", "docker_version", "os", "os.features", "os.version", "variant"}

// united are the fields whose members Override adds to those that are there.
var united = []string{"ExposedPorts", "Labels", "Volumes"}

// Override changes the config to what another says. The other's fields win where they
// say something; ports and volumes are united; variables and labels are set beside those
// that are there. Attach*, Tty, OpenStdin and StdinOnce are as given. Layers, history
// and time of the other are ignored.
func (c *Config) Override(other *Config) {
	for _, name := range ofImage {
		c.image.override(name, other.image)
	}
	for name := range other.run {
		switch {
		case name == "Env":
			for _, entry := range get[[]string](other.run, name) {
				variable, value, _ := strings.Cut(entry, "=")
				c.SetEnv(variable, value)
			}
		case slices.Contains(united, name):
			members := get[fields](c.run, name)
			if members == nil {
				members = fields{}
			}
			maps.Copy(members, get[fields](other.run, name))
			set(&c.run, name, members, len(members) == 0)
		default:
			c.run.override(name, other.run)
		}
	}
}

// adopted are the fields of containers that Adopt takes over.
var adopted = []string{
	"Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "Shell", "StopSignal", "User", "Volumes", "WorkingDir",
}

// Adopt changes the config to what another says, as Override does, and takes away the
// rest: the other's variables, labels, ports and volumes are all that there are. The
// other must be whole, like a container's; a Docker image then gets its
// container_config.
func (c *Config) Adopt(other *Config) {
	for _, name := range adopted {
		delete(c.run, name)
		c.run.override(name, other.run)
	}
	for _, name := range ofImage {
		c.image.override(name, other.image)
	}
	c.committed = other.image["container_config"]
}

// override sets a field to that of others, if they have it and it says something.
func (f *fields) override(name string, others fields) {
	raw, ok := others[name]
	if !ok || !asGiven[name] && saysNothing(raw) {
		return
	}
	set(f, name, raw, false)
}

// saysNothing reports whether a value is as good as one that is not there.
func saysNothing(raw json.RawMessage) bool {
	return slices.Contains([]string{"null", "false", `""`, "[]", "{}", "0"}, string(raw))
}
