package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// Apply makes the changes that Dockerfile instructions say, as docker import --change
// and buildah commit --change do: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL,
// MAINTAINER, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME and WORKDIR. There are no
// variables to replace. The error names the instruction; the config may have been
// changed by those before it.
func (c *Config) Apply(instructions ...string) error {
	for _, instruction := range instructions {
		if err := c.apply(instruction); err != nil {
			return fmt.Errorf("%q: %w", instruction, err)
		}
	}
	return nil
}

func (c *Config) apply(instruction string) error {
	name, rest, _ := strings.Cut(strings.TrimSpace(instruction), " ")
	rest = strings.TrimSpace(rest)
	name = strings.ToUpper(name)
	change, ok := instructions[name]
	if !ok {
		return errors.New("not an instruction that changes a config")
	}
	if rest == "" {
		return fmt.Errorf("%s wants an argument", name)
	}
	return change(c, rest)
}

// instructions are what Apply understands.
var instructions = map[string]func(*Config, string) error{
	"CMD": func(c *Config, rest string) error {
		c.SetCmd(c.command(rest))
		return nil
	},
	"ENTRYPOINT": func(c *Config, rest string) error {
		c.SetEntrypoint(c.command(rest))
		return nil
	},
	"ENV":         func(c *Config, rest string) error { return pairs(rest, c.SetEnv) },
	"LABEL":       func(c *Config, rest string) error { return pairs(rest, c.SetLabel) },
	"EXPOSE":      expose,
	"HEALTHCHECK": healthcheck,
	"MAINTAINER": func(c *Config, rest string) error {
		c.SetAuthor(rest)
		return nil
	},
	"ONBUILD": func(c *Config, rest string) error {
		c.AddOnBuild(rest)
		return nil
	},
	"SHELL": func(c *Config, rest string) error {
		shell, ok := list(rest)
		if !ok || len(shell) == 0 {
			return errors.New(`SHELL wants a JSON array, such as ["/bin/bash", "-c"]`)
		}
		c.SetShell(shell)
		return nil
	},
	"STOPSIGNAL": func(c *Config, rest string) error {
		c.SetStopSignal(rest)
		return nil
	},
	"USER": func(c *Config, rest string) error {
		c.SetUser(rest)
		return nil
	},
	"VOLUME": func(c *Config, rest string) error {
		volumes, ok := list(rest)
		if !ok {
			volumes = strings.Fields(rest)
		}
		for _, v := range volumes {
			c.AddVolume(v)
		}
		return nil
	},
	"WORKDIR": func(c *Config, rest string) error {
		dir := rest
		if !path.IsAbs(dir) {
			dir = path.Join("/", get[string](c.run, "WorkingDir"), dir)
		}
		c.SetWorkingDir(path.Clean(dir))
		return nil
	},
}

// list returns the JSON form of arguments; ok is false for another form.
func list(rest string) (arguments []string, ok bool) {
	if !strings.HasPrefix(rest, "[") {
		return nil, false
	}
	err := json.Unmarshal([]byte(rest), &arguments)
	return arguments, err == nil
}

// command returns arguments in their JSON form, or the shell with a command.
func (c *Config) command(rest string) []string {
	if arguments, ok := list(rest); ok {
		return arguments
	}
	shell := c.Shell()
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(shell[:len(shell):len(shell)], rest)
}

// pairs calls set for NAME=VALUE..., or for the NAME VALUE of old.
func pairs(rest string, set func(name, value string)) error {
	words, err := split(rest)
	if err != nil {
		return err
	}
	if !strings.Contains(words[0], "=") {
		name, value, ok := strings.Cut(rest, " ")
		if !ok {
			return fmt.Errorf("%s has no value", name)
		}
		set(name, strings.TrimSpace(value))
		return nil
	}
	for _, w := range words {
		if name, _, ok := strings.Cut(w, "="); !ok || name == "" {
			return fmt.Errorf("%q is not of the form NAME=VALUE", w)
		}
	}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		set(name, value)
	}
	return nil
}

// split splits words at spaces, except within quotes and behind a backslash, which it
// takes away.
func split(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	within, escaped := false, false
	for _, r := range s {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' && r != '$' {
				word.WriteRune('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			within, escaped = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			within, quote = true, r
		case r == ' ' || r == '\t':
			if within {
				words = append(words, word.String())
				word.Reset()
			}
			within = false
		default:
			within = true
			word.WriteRune(r)
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote or an escape has no end")
	}
	if within {
		words = append(words, word.String())
	}
	return words, nil
}

func expose(c *Config, rest string) error {
	for _, port := range strings.Fields(rest) {
		ports, protocol, _ := strings.Cut(port, "/")
		first, last, isRange := strings.Cut(ports, "-")
		from, err := strconv.ParseUint(first, 10, 16)
		to := from
		if err == nil && isRange {
			to, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || to < from {
			return fmt.Errorf("%q is not a port, nor a range of them", port)
		}
		if protocol == "" {
			protocol = "tcp"
		}
		for p := from; p <= to; p++ {
			c.AddPort(fmt.Sprintf("%d/%s", p, strings.ToLower(protocol)))
		}
	}
	return nil
}

func healthcheck(c *Config, rest string) error {
	h := &Healthcheck{}
	durations := map[string]*time.Duration{
		"interval": &h.Interval, "timeout": &h.Timeout, "start-period": &h.StartPeriod, "start-interval": &h.StartInterval,
	}
	for strings.HasPrefix(rest, "--") {
		flag, after, _ := strings.Cut(rest[2:], " ")
		name, value, _ := strings.Cut(flag, "=")
		var err error
		if d, ok := durations[name]; ok {
			*d, err = time.ParseDuration(value)
		} else if name == "retries" {
			h.Retries, err = strconv.Atoi(value)
		} else {
			err = errors.New("there is no such flag")
		}
		if err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
		rest = strings.TrimSpace(after)
	}
	kind, command, _ := strings.Cut(rest, " ")
	command = strings.TrimSpace(command)
	switch arguments, ok := list(command); {
	case strings.EqualFold(kind, "NONE") && command == "":
		h.Test = []string{"NONE"}
	case !strings.EqualFold(kind, "CMD") || command == "":
		return errors.New("HEALTHCHECK wants CMD and a command, or NONE")
	case ok:
		h.Test = append([]string{"CMD"}, arguments...)
	default:
		h.Test = []string{"CMD-SHELL", command}
	}
	c.SetHealthcheck(h)
	return nil
}
