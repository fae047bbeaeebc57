package browsing

import (
	"os"
	"regexp"
	"strings"
)

// command is a command line for the user of a client.
type command struct{ Client, Text string }

// addCommands adds how to pull the image or, without a way to pull, how to load its archive.
func (p *Pages) addCommands(v *imagePage, r *request, e *entry) {
	if p.options.Local {
		v.CommandsFor, v.Commands = "Load", loadCommands(e.places[0].archive.Path(), len(e.names) > 0)
		return
	}
	host := r.Host
	if !validHost(host) {
		host = "HOST:5000"
	}
	for _, ref := range p.references(e) {
		if e.id.Algorithm() != "" && !strings.Contains(ref, ":") {
			if e.info.Digest == "" {
				continue
			}
			ref += "@" + string(e.id)
		}
		image, platform := host+"/"+ref, ""
		if s := e.info.Platform.String(); e.index != nil && validPlatform.MatchString(s) {
			platform = "--platform " + s + " "
		}
		plain, unverified := " --plain-http", " --tls-verify=false"
		if p.options.TLS {
			plain, unverified = "", ""
		} else if !isLoopback(host) {
			v.InsecureFor = host
		}
		v.CommandsFor = "Pull"
		v.Commands = append(v.Commands,
			command{"docker", "docker pull " + platform + image},
			command{"containerd", "sudo ctr images pull" + plain + " " + platform + image},
			command{"podman", "podman pull" + unverified + " " + platform + image},
		)
		break // One name is enough; the others are shown.
	}
}

// loadCommands returns how an archive is loaded, or an OCI layout in a directory. ctr
// silently skips an image without a name, unless a flag names it.
func loadCommands(path string, named bool) []command {
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	info, err := os.Stat(path)
	isDir := err == nil && info.IsDir()
	path = quoted(path)
	imports := "sudo ctr images import "
	if !named {
		imports += "--digests "
	}
	commands := []command{
		{"docker", "docker load -i " + path},
		{"containerd", imports + path},
		{"podman", "podman load -i " + path},
		{"any", "docker-archive load " + path},
	}
	if isDir { // They take a tar only; podman takes a directory, but makes a name of its path, which not all can be.
		packed := "tar -C " + path + " -cf - . | "
		commands[0].Text = packed + "docker load"
		commands[1].Text = packed + imports + "-"
		commands[2].Text = packed + "podman load"
	}
	return commands
}

// references returns the references to pull the image, or its index, by.
func (p *Pages) references(e *entry) []string {
	for _, at := range e.places {
		if refs := p.server.References(at.archive, at.position); len(refs) > 0 {
			return refs
		}
	}
	return nil
}

var (
	validPlatform = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$`)
	plainArgument = regexp.MustCompile(`^[a-zA-Z0-9_./:@%+=-]+$`)
)

// quoted returns an argument as a POSIX shell takes it. Non-printing characters are escaped
// as bash and others read them.
func quoted(s string) string {
	if plainArgument.MatchString(s) {
		return s
	}
	if escaped := text(s); escaped != s {
		return "$'" + strings.ReplaceAll(escaped, "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
