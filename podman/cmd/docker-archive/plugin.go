package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// As ~/.docker/cli-plugins/docker-archive this command is a plugin of the docker command: "docker
// archive save …" runs it with docker's own flags, the word archive, and the rest of the line.
const (
	pluginName     = "archive"
	calledByDocker = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND" // is set for plugins
	dockersSocket  = "DOCKER_CLI_PLUGIN_SOCKET"               // is closed when a plugin shall end
)

// newMetadataCommand returns the hidden command that describes a plugin to docker.
func newMetadataCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "docker-cli-plugin-metadata",
		Hidden: true,
		Args:   usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
				SchemaVersion, Vendor, Version, ShortDescription, URL string
			}{"0.1.0", "dockerarchive", version(), cmd.Root().Short, "https://github.com/dockerarchive/dockerarchive"})
		},
	}
}

// dockerFlags are the flags of the docker command before the name of a plugin.
type dockerFlags struct {
	*pflag.FlagSet
	config, context, logLevel string
	hosts                     []string
	debug, tls, verify        bool
	ca, cert, key             string
}

func newDockerFlags() *dockerFlags {
	f := &dockerFlags{FlagSet: pflag.NewFlagSet("docker", pflag.ContinueOnError)}
	f.SetInterspersed(false)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.StringVar(&f.config, "config", "", "")
	f.StringVarP(&f.context, "context", "c", "", "")
	f.StringArrayVarP(&f.hosts, "host", "H", nil, "")
	f.StringVarP(&f.logLevel, "log-level", "l", "", "")
	f.BoolVarP(&f.debug, "debug", "D", false, "")
	f.BoolVar(&f.tls, "tls", false, "")
	f.BoolVar(&f.verify, "tlsverify", false, "")
	f.StringVar(&f.ca, "tlscacert", "", "")
	f.StringVar(&f.cert, "tlscert", "", "")
	f.StringVar(&f.key, "tlskey", "", "")
	return f
}

// asPlugin returns the arguments without docker's part of the line. Docker's flags become the
// variables of the environment that mean the same, and are looked at wherever a daemon or
// credentials are looked for. A line that is not docker's stays as it is: a plugin that runs
// docker-archive hands docker's environment on.
func asPlugin(root *cobra.Command, args []string) ([]string, error) {
	flags := newDockerFlags()
	if err := flags.Parse(args); err != nil {
		return args, nil // Docker would have refused it, so docker has not written it.
	}
	rest := flags.Args()
	name := slices.Index(rest, pluginName)
	switch {
	case name == 0:
	case name == 1 && slices.Contains([]string{"help", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, rest[0]):
	default:
		return args, nil
	}
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "docker " + pluginName}
	rest = slices.Delete(slices.Clone(rest), name, name+1)
	if flags.debug || flags.logLevel == "debug" {
		rest = append([]string{"--debug"}, rest...)
	}
	return rest, flags.toEnvironment()
}

func (f *dockerFlags) toEnvironment() error {
	switch {
	case len(f.hosts) > 0 && f.context != "":
		return usagef("docker's --host and --context cannot be used together")
	case len(f.hosts) > 1:
		return usagef("docker's --host is given %d times", len(f.hosts))
	}
	set := map[string]string{}
	if f.config != "" {
		set["DOCKER_CONFIG"] = f.config
	}
	if f.context != "" {
		set["DOCKER_CONTEXT"], set["DOCKER_HOST"] = f.context, "" // DOCKER_HOST would take precedence.
	}
	if len(f.hosts) == 1 {
		set["DOCKER_HOST"], set["DOCKER_CONTEXT"] = f.hosts[0], ""
		if !strings.Contains(f.hosts[0], "://") {
			set["DOCKER_HOST"] = "tcp://" + f.hosts[0]
		}
	}
	if f.Changed("tls") {
		set["DOCKER_TLS"] = variable(f.tls)
	}
	if f.Changed("tlsverify") {
		set["DOCKER_TLS_VERIFY"] = variable(f.verify)
	}
	dir, err := f.certificates()
	if err != nil {
		return err
	}
	if dir != "" {
		set["DOCKER_CERT_PATH"] = dir
	}
	for name, value := range set {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// variable returns the value of a variable that is on if it is not empty.
func variable(on bool) string {
	if on {
		return "1"
	}
	return ""
}

// certificates returns the directory of the certificates that flags name one by one, or "".
func (f *dockerFlags) certificates() (dir string, err error) {
	for _, given := range []struct{ flag, path, name string }{
		{"tlscacert", f.ca, "ca.pem"}, {"tlscert", f.cert, "cert.pem"}, {"tlskey", f.key, "key.pem"},
	} {
		if given.path == "" {
			continue
		}
		in, name := filepath.Split(given.path)
		if in = filepath.Clean(in); name != given.name || dir != "" && in != dir {
			return "", usagef("docker's --%s %q cannot be used here: put ca.pem, cert.pem and key.pem into one directory", given.flag, given.path)
		}
		dir = in
	}
	return dir, nil
}

// endWithDocker calls end when docker says that its plugin shall end, which it says by closing a
// socket: it hands no signal on.
func endWithDocker(end func()) {
	address := os.Getenv(dockersSocket)
	if address == "" {
		return // An older docker.
	}
	conn, err := net.Dial("unix", address)
	if err != nil {
		return // It may be the docker of another process: see asPlugin.
	}
	go func() {
		defer conn.Close()
		if _, err := io.Copy(io.Discard, conn); err == nil || errors.Is(err, net.ErrClosed) {
			end()
		}
	}()
}
