package compose

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Config is the config of an image, to be changed. Fields that are not changed stay as
// the base has them, including those that this package does not know. The zero value is
// of an image without anything. It must not be used concurrently.
type Config struct {
	image     fields          // of the document
	run       fields          // of what it says of containers
	committed json.RawMessage // container_config of what Adopt has been given, nil without
}

// fields are those of a JSON object.
type fields map[string]json.RawMessage

// Healthcheck is how Docker tests that a container works. Test is ["NONE"] for not at
// all, else ["CMD", arguments...] or ["CMD-SHELL", command].
type Healthcheck struct {
	Test          []string      `json:",omitempty"`
	Interval      time.Duration `json:",omitempty"` // in nanoseconds, as the others
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// ParseConfig reads the config of an image, of OCI's or Docker's kind. The error
// wraps errdef.ErrDamaged or ErrLimit.
func ParseConfig(raw []byte) (*Config, error) {
	c := &Config{}
	if err := image.Decode("config", raw, &c.image); err != nil {
		return nil, err
	}
	if run, ok := c.image["config"]; ok {
		if err := image.Decode("config", run, &c.run); err != nil {
			return nil, err
		}
	}
	for name, form := range forms {
		if raw, ok := c.run[name]; ok && json.Unmarshal(raw, form()) != nil {
			return nil, errdef.Errorf(errdef.ErrDamaged, "config: %s is %.40q", name, raw)
		}
	}
	return c, nil
}

// forms are those of fields whose members can be changed one by one.
var forms = map[string]func() any{
	"Env": newValue[[]string], "OnBuild": newValue[[]string],
	"ExposedPorts": newValue[fields], "Labels": newValue[fields], "Volumes": newValue[fields],
}

func newValue[T any]() any { return new(T) }

// MarshalJSON returns the config as it stands.
func (c *Config) MarshalJSON() ([]byte, error) {
	document := maps.Clone(c.image)
	set(&document, "config", c.run, len(c.run) == 0)
	return json.Marshal(document)
}

// get reads a field; one of another form than wanted is as one that is not there.
func get[T any](f fields, name string) (value T) {
	if raw, ok := f[name]; ok {
		if err := json.Unmarshal(raw, &value); err != nil {
			var none T
			return none
		}
	}
	return value
}

// set writes a field, or takes it away if there is nothing to say.
func set[T any](f *fields, name string, value T, empty bool) {
	if empty {
		delete(*f, name)
		return
	}
	raw, err := json.Marshal(value)
	if err != nil { // Strings, lists and numbers always encode.
		panic(fmt.Sprintf("compose: encoding %s: %v", name, err))
	}
	if *f == nil {
		*f = fields{}
	}
	(*f)[name] = raw
}

func setString(f *fields, name, value string)         { set(f, name, value, value == "") }
func setStrings(f *fields, name string, all []string) { set(f, name, all, len(all) == 0) }

// SetUser sets the user of a container: the name or number of a user and, if wanted,
// after a colon, of a group.
func (c *Config) SetUser(user string) { setString(&c.run, "User", user) }

// SetWorkingDir says in which directory a container starts.
func (c *Config) SetWorkingDir(dir string) { setString(&c.run, "WorkingDir", dir) }

// SetStopSignal says which signal ends a container.
func (c *Config) SetStopSignal(signal string) { setString(&c.run, "StopSignal", signal) }

// SetEntrypoint says what a container runs; nil is nothing. It takes away Cmd, as
// Dockerfiles do: the base's arguments are for the base's entrypoint.
func (c *Config) SetEntrypoint(arguments []string) {
	setStrings(&c.run, "Entrypoint", arguments)
	c.SetCmd(nil)
}

// SetCmd says with which arguments a container runs; nil is none.
func (c *Config) SetCmd(arguments []string) {
	setStrings(&c.run, "Cmd", arguments)
	delete(c.run, "ArgsEscaped") // It is about what was there.
}

// SetShell says what runs the shell form of Dockerfile instructions; nil is /bin/sh.
func (c *Config) SetShell(shell []string) { setStrings(&c.run, "Shell", shell) }

// Shell returns what SetShell has set, or the base has.
func (c *Config) Shell() []string { return get[[]string](c.run, "Shell") }

// SetHealthcheck says how Docker tests a container; nil removes that.
func (c *Config) SetHealthcheck(h *Healthcheck) { set(&c.run, "Healthcheck", h, h == nil) }

// Cmd returns the arguments with which a container runs.
func (c *Config) Cmd() []string { return get[[]string](c.run, "Cmd") }

// Env returns the variables, each as NAME=VALUE.
func (c *Config) Env() []string { return get[[]string](c.run, "Env") }

// WorkingDir returns the directory in which a container starts.
func (c *Config) WorkingDir() string { return get[string](c.run, "WorkingDir") }

// AddOnBuild adds an instruction for a Dockerfile that builds on the image.
func (c *Config) AddOnBuild(instruction string) {
	setStrings(&c.run, "OnBuild", append(get[[]string](c.run, "OnBuild"), instruction))
}

// ClearOnBuild takes away the instructions for Dockerfiles that build on the image.
func (c *Config) ClearOnBuild() { delete(c.run, "OnBuild") }

// SetEnv sets a variable, in the place of the first of its name, and takes away others of
// that name.
func (c *Config) SetEnv(name, value string) {
	env := c.Env()
	i := slices.IndexFunc(env, isVariable(name))
	if i < 0 {
		i = len(env)
	}
	others := slices.DeleteFunc(env[i:], isVariable(name))
	setStrings(&c.run, "Env", slices.Concat(env[:i], []string{name + "=" + value}, others))
}

// UnsetEnv takes a variable away.
func (c *Config) UnsetEnv(name string) {
	setStrings(&c.run, "Env", slices.DeleteFunc(get[[]string](c.run, "Env"), isVariable(name)))
}

func isVariable(name string) func(string) bool {
	return func(entry string) bool {
		n, _, _ := strings.Cut(entry, "=")
		return n == name
	}
}

// SetLabel sets a label.
func (c *Config) SetLabel(name, value string) {
	labels := get[fields](c.run, "Labels")
	set(&labels, name, value, false)
	set(&c.run, "Labels", labels, false)
}

// UnsetLabel takes a label away.
func (c *Config) UnsetLabel(name string) {
	c.removeFrom("Labels", name)
}

// RemovePort takes away what AddPort has set, or the base has.
func (c *Config) RemovePort(port string) { c.removeFrom("ExposedPorts", withProtocol(port)) }

// RemoveVolume takes away what AddVolume has set, or the base has.
func (c *Config) RemoveVolume(path string) { c.removeFrom("Volumes", path) }

func (c *Config) removeFrom(name, member string) {
	all := get[fields](c.run, name)
	delete(all, member)
	set(&c.run, name, all, len(all) == 0)
}

// ClearLabels takes all labels away.
func (c *Config) ClearLabels() { delete(c.run, "Labels") }

// AddPort says that containers listen on PORT[/PROTOCOL]; the protocol is tcp by
// default.
func (c *Config) AddPort(port string) { c.addTo("ExposedPorts", withProtocol(port)) }

func withProtocol(port string) string {
	if strings.Contains(port, "/") {
		return port
	}
	return port + "/tcp"
}

// AddVolume says that a path in containers is to be a volume.
func (c *Config) AddVolume(path string) { c.addTo("Volumes", path) }

func (c *Config) addTo(name, member string) {
	all := get[fields](c.run, name)
	set(&all, member, struct{}{}, false)
	set(&c.run, name, all, false)
}

// SetAuthor names the image's author.
func (c *Config) SetAuthor(author string) { setString(&c.image, "author", author) }

// Platform returns what the image is for.
func (c *Config) Platform() v1.Platform {
	return v1.Platform{
		OS: get[string](c.image, "os"), Architecture: get[string](c.image, "architecture"), Variant: get[string](c.image, "variant"),
		OSVersion: get[string](c.image, "os.version"), OSFeatures: get[[]string](c.image, "os.features"),
	}
}

// SetPlatform says what the image is for.
func (c *Config) SetPlatform(p v1.Platform) {
	setString(&c.image, "os", p.OS)
	setString(&c.image, "architecture", p.Architecture)
	setString(&c.image, "variant", p.Variant)
	setString(&c.image, "os.version", p.OSVersion)
	setStrings(&c.image, "os.features", p.OSFeatures)
}

// SetContainer sets the ID of the container that a Docker schema 2 image was made from.
func (c *Config) SetContainer(id string) { setString(&c.image, "container", id) }

// SetDockerVersion sets the version of Docker that made a Docker schema 2 image.
func (c *Config) SetDockerVersion(version string) { setString(&c.image, "docker_version", version) }

// Created returns when the image was made; ok is false if that is not known.
func (c *Config) Created() (created time.Time, ok bool) {
	t := get[*time.Time](c.image, "created")
	if t == nil {
		return time.Time{}, false
	}
	return *t, true
}

// DiffIDs returns the digests of the uncompressed layers, lowest first.
func (c *Config) DiffIDs() []digest.Digest {
	return get[v1.RootFS](c.image, "rootfs").DiffIDs
}

// History returns how the image came to be.
func (c *Config) History() []v1.History { return get[[]v1.History](c.image, "history") }

// clone returns a copy that can be changed by itself.
func (c *Config) clone() *Config {
	return &Config{image: maps.Clone(c.image), run: maps.Clone(c.run), committed: c.committed}
}

// ofItself are the fields of a config by which Docker knows one image from another.
var ofItself = []string{"container", "id", "layer_id", "parent", "parent_id", "throwaway", "Size"}

// encode returns the document. before is the config before the change: Docker keeps that.
func (c *Config) encode(format Format, before fields) ([]byte, error) {
	document := maps.Clone(c.image)
	set(&document, "config", c.run, len(c.run) == 0)
	for _, required := range []string{"os", "architecture"} {
		if get[string](document, required) == "" {
			return nil, fmt.Errorf("the config does not say which %s the image is for", required)
		}
	}
	if format == Docker {
		if c.committed != nil {
			document["container_config"] = c.committed
		} else if before != nil {
			set(&document, "container_config", before, false)
		} else {
			set(&document, "container_config", struct{}{}, false)
		}
	}
	raw, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	if len(raw) > image.MaxDocument {
		return nil, fmt.Errorf("%w: the config has more than %d bytes", errdef.ErrLimit, image.MaxDocument)
	}
	return raw, nil
}
