package making

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/docker/go-connections/nat"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/sys/signal"

	"github.com/dockerarchive/dockerarchive/compose"
)

// Apply changes a config as docker import --change and docker commit --change do. The
// instructions are lines of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL,
// ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR; Docker takes no others there. BuildKit's
// parser reads them. Variables are those of the config. The error names the instruction;
// the config may have been changed by those before it.
func Apply(config *compose.Config, lines ...string) error {
	if len(lines) == 0 {
		return nil
	}
	parsed, err := parser.Parse(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return fmt.Errorf("%q: %w", strings.Join(lines, "\n"), err)
	}
	var commands []instructions.Command
	for _, node := range parsed.AST.Children {
		if !changes[strings.ToLower(node.Value)] {
			return fmt.Errorf("%q: %s is not an instruction that changes a config", node.Original, node.Value)
		}
		command, err := instructions.ParseCommand(node)
		if err != nil {
			return fmt.Errorf("%q: %w", node.Original, err)
		}
		commands = append(commands, command)
	}
	a := applier{config: config, words: shell.NewLex(parsed.EscapeToken)}
	for i, command := range commands {
		if err := a.apply(command); err != nil {
			return fmt.Errorf("%q: %w", parsed.AST.Children[i].Original, err)
		}
	}
	return nil
}

// changes are the instructions that docker import --change takes.
var changes = map[string]bool{
	"cmd": true, "entrypoint": true, "env": true, "expose": true, "healthcheck": true, "label": true,
	"onbuild": true, "stopsignal": true, "user": true, "volume": true, "workdir": true,
}

// An applier changes a config, one instruction after the other.
type applier struct {
	config *compose.Config
	words  *shell.Lex
	cmdSet bool // by a CMD before
}

func (a *applier) apply(command instructions.Command) error {
	variables := shell.EnvsFromSlice(a.config.Env())
	if c, ok := command.(instructions.SupportsSingleWordExpansion); ok {
		if err := c.Expand(func(word string) (string, error) {
			expanded, _, err := a.words.ProcessWord(word, variables)
			return expanded, err
		}); err != nil {
			return err
		}
	}
	switch c := command.(type) {
	case *instructions.CmdCommand:
		a.config.SetCmd(a.commandLine(c.ShellDependantCmdLine))
		a.cmdSet = a.cmdSet || len(c.CmdLine) > 0
	case *instructions.EntrypointCommand:
		cmd := a.config.Cmd()
		a.config.SetEntrypoint(a.commandLine(c.ShellDependantCmdLine))
		if a.cmdSet {
			a.config.SetCmd(cmd)
		}
	case *instructions.EnvCommand:
		for _, pair := range c.Env {
			a.config.SetEnv(pair.Key, pair.Value)
		}
	case *instructions.LabelCommand:
		for _, pair := range c.Labels {
			a.config.SetLabel(pair.Key, pair.Value)
		}
	case *instructions.ExposeCommand:
		return a.expose(c.Ports, variables)
	case *instructions.HealthCheckCommand:
		a.config.SetHealthcheck(&compose.Healthcheck{
			Test: c.Health.Test, Interval: c.Health.Interval, Timeout: c.Health.Timeout,
			StartPeriod: c.Health.StartPeriod, StartInterval: c.Health.StartInterval, Retries: c.Health.Retries,
		})
	case *instructions.OnbuildCommand:
		a.config.AddOnBuild(c.Expression)
	case *instructions.StopSignalCommand:
		return SetStopSignal(a.config, c.Signal)
	case *instructions.UserCommand:
		a.config.SetUser(c.User)
	case *instructions.VolumeCommand:
		for _, volume := range c.Volumes {
			if volume == "" {
				return errors.New("a volume has no name")
			}
			a.config.AddVolume(volume)
		}
	case *instructions.WorkdirCommand:
		return a.workdir(c.Path)
	}
	return nil
}

// commandLine returns arguments, behind the shell for the form that it reads.
func (a *applier) commandLine(line instructions.ShellDependantCmdLine) []string {
	if !line.PrependShell || line.CmdLine == nil {
		return line.CmdLine
	}
	shell := a.config.Shell()
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
		if a.config.Platform().OS == "windows" {
			shell = []string{"cmd", "/S", "/C"}
		}
	}
	return append(shell[:len(shell):len(shell)], line.CmdLine...)
}

// expose adds ports. A variable may stand for several.
func (a *applier) expose(specs []string, variables shell.EnvGetter) error {
	var ports []string
	for _, spec := range specs {
		words, err := a.words.ProcessWords(spec, variables)
		if err != nil {
			return err
		}
		ports = append(ports, words...)
	}
	return Expose(a.config, ports...)
}

// workdir changes the directory; one that is not absolute is below the one there is.
func (a *applier) workdir(dir string) error {
	if dir == "" {
		return errors.New("the directory has no name")
	}
	SetWorkingDir(a.config, dir)
	return nil
}

// SetWorkingDir sets the directory in which a container starts as WORKDIR of a Dockerfile does:
// one that is not absolute is below the one there is. A directory of Windows is set as it is.
func SetWorkingDir(config *compose.Config, dir string) {
	if config.Platform().OS != "windows" {
		if !path.IsAbs(dir) {
			dir = path.Join("/", config.WorkingDir(), dir)
		}
		dir = path.Clean(dir)
	}
	config.SetWorkingDir(dir)
}

// SetEnv sets a variable as buildah config --env does: $NAME and ${NAME} in its value, also with
// :- or :+, stand for variables of the config. A $NAME that it does not have stays as it is, and
// so do quotes and backslashes.
func SetEnv(config *compose.Config, name, value string) error {
	words := shell.NewLex('\\')
	words.RawQuotes, words.RawEscapes, words.SkipProcessQuotes = true, true, true
	words.SkipUnsetEnv = !strings.Contains(value, "${") // Then it means a variable.
	expanded, _, err := words.ProcessWord(value, shell.EnvsFromSlice(config.Env()))
	if err != nil {
		return fmt.Errorf("%s=%s: %w", name, value, err)
	}
	config.SetEnv(name, expanded)
	return nil
}

// Expose adds ports to a config as EXPOSE of a Dockerfile does: PORT, FIRST-LAST, with
// /tcp, /udp or /sctp behind it.
func Expose(config *compose.Config, specs ...string) error {
	ports, _, err := nat.ParsePortSpecs(specs)
	if err != nil {
		return err
	}
	for port := range ports {
		config.AddPort(string(port))
	}
	return nil
}

// SetStopSignal sets the signal that ends a container, by name or number. One that Linux
// does not have is an error, as for docker.
func SetStopSignal(config *compose.Config, name string) error {
	if _, err := signal.ParseSignal(name); err != nil {
		return err
	}
	config.SetStopSignal(name)
	return nil
}
