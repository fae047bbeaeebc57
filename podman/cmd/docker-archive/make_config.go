package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// configFlags are the flags of make that change the config of the image.
type configFlags struct {
	file             string
	changes          []string
	entrypoint, cmd  string
	env, unsetEnv    []string
	labels           []string
	unsetLabels      []string
	clearLabels      bool
	annotations      []string
	unsetAnnotations []string
	clearAnnotations bool
	ports, volumes   []string
	user, workdir    string
	stopSignal       string
	shell            string
	healthcheck      string
	onBuild          []string
	author           string
	platform         string
	osVersion        string
	osFeatures       []string
	parent           string
	container        string
	dockerVersion    string

	flags *pflag.FlagSet
}

func (c *configFlags) register(f *pflag.FlagSet) {
	c.flags = f
	f.StringVar(&c.file, "config", "", "take the fields of the config from JSON `FILE`")
	f.StringArrayVarP(&c.changes, "change", "c", nil, "apply a Dockerfile `INSTRUCTION`, as CMD [\"x\"]; repeatable")
	f.StringVar(&c.entrypoint, "entrypoint", "", "program of a container: a shell `LINE`, [\"x\", ...] or \"\" for none")
	f.StringVar(&c.cmd, "cmd", "", "arguments or default program: a shell `LINE` or [\"x\", ...]")
	f.StringArrayVarP(&c.env, "env", "e", nil, "set a variable, `NAME=VALUE`; repeatable")
	f.StringArrayVar(&c.unsetEnv, "unset-env", nil, "remove the variable `NAME`; repeatable")
	f.StringArrayVarP(&c.labels, "label", "l", nil, "set a label, `NAME=VALUE`; repeatable")
	f.StringArrayVar(&c.unsetLabels, "unset-label", nil, "remove the label `NAME`; repeatable")
	f.BoolVar(&c.clearLabels, "clear-labels", false, "remove all labels of the base")
	f.StringArrayVar(&c.annotations, "annotation", nil, "set an annotation of the manifest, `NAME=VALUE`; repeatable")
	f.StringArrayVar(&c.unsetAnnotations, "unset-annotation", nil, "remove the annotation `NAME`; repeatable")
	f.BoolVar(&c.clearAnnotations, "clear-annotations", false, "remove all annotations of the base, and do not name the base")
	f.StringArrayVarP(&c.ports, "port", "p", nil, "expose `PORT[/PROTOCOL]`; -PORT removes one; repeatable")
	f.StringArrayVarP(&c.volumes, "volume", "v", nil, "add a volume at `PATH`; -PATH removes one; repeatable")
	f.StringVarP(&c.user, "user", "u", "", "run containers as `USER[:GROUP]`")
	f.StringVar(&c.workdir, "workdir", "", "start containers in `DIR`")
	f.StringVar(&c.stopSignal, "stop-signal", "", "stop containers by `SIGNAL`")
	f.StringVar(&c.shell, "shell", "", "run shell `LINE`s with this, as [\"/bin/bash\", \"-c\"]")
	f.StringVar(&c.healthcheck, "healthcheck", "", "test of containers, as in a Dockerfile: [--interval=D] CMD x, or NONE")
	f.StringArrayVar(&c.onBuild, "onbuild", nil, "`INSTRUCTION` of a Dockerfile for images built on this one; repeatable")
	f.StringVar(&c.author, "author", "", "`NAME` of the image's author")
	f.StringVar(&c.platform, "set-platform", "", "say that the image is for `OS/ARCH[/VARIANT]` (default the base's)")
	f.StringVar(&c.osVersion, "os-version", "", "`VERSION` of the system that the image needs")
	f.StringArrayVar(&c.osFeatures, "os-feature", nil, "`FEATURE` of the system that the image needs; repeatable")
	f.StringVar(&c.parent, "parent", "", "`ID` of the image below, with --format docker")
	f.StringVar(&c.container, "container-id", "", "`ID` of the container it was made of, with --format docker")
	f.StringVar(&c.dockerVersion, "docker-version", "", "`VERSION` of Docker that made it, with --format docker")
}

// change returns the changes that the flags make. For an image without a base, they
// include the platform: --platform, or this machine's.
func (c *configFlags) change(g *globalOptions, scratch bool) (func(*compose.Config) error, error) {
	var file *compose.Config
	if c.file != "" {
		raw, err := os.ReadFile(c.file)
		if err == nil {
			file, err = compose.ParseOverrides(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("--config: %w", err)
		}
	}
	platform := imgspecv1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if sys, err := g.systemContext(); err != nil {
		return nil, err
	} else if sys.ArchitectureChoice != "" || sys.OSChoice != "" {
		if sys.OSChoice != "" {
			platform.OS = sys.OSChoice
		}
		if sys.ArchitectureChoice != "" {
			platform.Architecture, platform.Variant = sys.ArchitectureChoice, sys.VariantChoice
		}
	}
	if c.platform != "" {
		p, err := parsePlatform(c.platform)
		if err != nil {
			return nil, err
		}
		platform, scratch = p, true
	}
	instructions, err := c.instructions()
	if err != nil {
		return nil, err
	}
	return func(config *compose.Config) error {
		if scratch { // Nothing else says it, or is to.
			config.SetPlatform(platform)
		}
		if c.clearLabels {
			config.ClearLabels()
		}
		if file != nil {
			config.Override(file)
		}
		if c.shell != "" {
			if err := c.setShell(config); err != nil {
				return err
			}
		}
		if err := making.Apply(config, instructions...); err != nil {
			return err
		}
		return c.set(config)
	}, nil
}

// parentID returns the value of --parent, or "".
func (c *configFlags) parentID() (digest.Digest, error) {
	if c.parent == "" {
		return "", nil
	}
	id, err := digest.Parse(c.parent)
	if err != nil {
		return "", usagef("--parent %q: %w", c.parent, err)
	}
	return id, nil
}

// instructions returns those of --change, and those that other flags stand for.
func (c *configFlags) instructions() ([]string, error) {
	all := append([]string{}, c.changes...)
	if c.healthcheck != "" {
		all = append(all, "HEALTHCHECK "+c.healthcheck)
	}
	if c.entrypoint != "" {
		all = append(all, "ENTRYPOINT "+c.entrypoint)
	}
	if c.cmd != "" {
		all = append(all, "CMD "+c.cmd)
	}
	for _, instruction := range c.onBuild {
		all = append(all, "ONBUILD "+instruction)
	}
	for flag, values := range map[string][]string{"env": c.env, "label": c.labels} {
		for _, value := range values {
			if name, _, ok := strings.Cut(value, "="); !ok || name == "" {
				return nil, usagef("--%s %q is not of the form NAME=VALUE", flag, value)
			}
		}
	}
	return all, nil
}

// setShell sets the shell before the instructions, as it applies to their shell form.
func (c *configFlags) setShell(config *compose.Config) error {
	var shell []string
	if err := json.Unmarshal([]byte(c.shell), &shell); err != nil || len(shell) == 0 {
		return usagef(`--shell %q is not a JSON array, such as ["/bin/bash", "-c"]`, c.shell)
	}
	config.SetShell(shell)
	return nil
}

// set changes the config by flags that have a value each.
func (c *configFlags) set(config *compose.Config) error {
	if c.flags.Changed("entrypoint") && c.entrypoint == "" {
		config.SetEntrypoint(nil)
	}
	if c.flags.Changed("cmd") && c.cmd == "" {
		config.SetCmd(nil)
	}
	for flag, set := range map[string]func(string){
		"user": config.SetUser, "author": config.SetAuthor,
		"container-id": config.SetContainer, "docker-version": config.SetDockerVersion,
	} {
		if c.flags.Changed(flag) {
			value, _ := c.flags.GetString(flag) // It is a string.
			set(value)
		}
	}
	if c.flags.Changed("workdir") {
		if c.workdir == "" {
			config.SetWorkingDir("")
		} else {
			making.SetWorkingDir(config, c.workdir)
		}
	}
	each(c.unsetEnv, config.UnsetEnv)
	each(c.unsetLabels, config.UnsetLabel)
	for _, variable := range c.env {
		name, value, _ := strings.Cut(variable, "=")
		if err := making.SetEnv(config, name, value); err != nil {
			return fmt.Errorf("--env: %w", err)
		}
	}
	for _, label := range c.labels {
		name, value, _ := strings.Cut(label, "=")
		config.SetLabel(name, value)
	}
	if c.stopSignal != "" {
		if err := making.SetStopSignal(config, c.stopSignal); err != nil {
			return fmt.Errorf("--stop-signal: %w", err)
		}
	}
	for _, port := range c.ports {
		if rest, ok := strings.CutPrefix(port, "-"); ok {
			config.RemovePort(rest)
		} else if err := making.Expose(config, port); err != nil {
			return fmt.Errorf("--port: %w", err)
		}
	}
	for _, volume := range c.volumes {
		if rest, ok := strings.CutPrefix(volume, "-"); ok {
			config.RemoveVolume(rest)
		} else if volume == "" {
			return usagef("--volume: a volume has no name")
		} else {
			config.AddVolume(volume)
		}
	}
	if c.osVersion != "" || len(c.osFeatures) > 0 {
		p := config.Platform()
		if c.osVersion != "" {
			p.OSVersion = c.osVersion
		}
		p.OSFeatures = append(p.OSFeatures, c.osFeatures...)
		config.SetPlatform(p)
	}
	return nil
}

func each(values []string, do func(string)) {
	for _, v := range values {
		do(v)
	}
}
