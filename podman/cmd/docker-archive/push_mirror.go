package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

const dockerHub = "docker.io"

// mirror is a registry that has the images of others.
type mirror struct {
	host     string
	prefix   string   // of its repositories, "" or with a slash at its end
	hosts    []string // of the images' names
	keepHost bool
	insecure bool
	scheme   string
}

// mirror describes the registry that images would be pushed to. It asks a registry that need
// not be secure whether it has TLS, and assumes TLS for one that cannot be reached.
func (o *pushOptions) mirror(ctx context.Context, sys *types.SystemContext, registry string, named reference.Named, images []copying.PushImage) mirror {
	host, prefix, _ := strings.Cut(registry, "/")
	m := mirror{host: host, keepHost: o.keepHost, insecure: !o.registry.tlsVerify, scheme: "https://"}
	client := registries.New(sys)
	defer client.Close()
	if trusted, plain, err := client.Reached(ctx, named); err == nil {
		m.insecure = m.insecure || trusted
		if plain {
			m.scheme = "http://"
		}
	}
	if prefix != "" {
		m.prefix = prefix + "/"
	}
	for _, img := range images {
		for _, name := range img.Names {
			if h := reference.Domain(name); !slices.Contains(m.hosts, h) {
				m.hosts = append(m.hosts, h)
			}
		}
	}
	slices.Sort(m.hosts)
	return m
}

// prefixOf returns the prefix of the paths of a registry's images.
func (m mirror) prefixOf(host string) string {
	if !m.keepHost {
		return m.prefix
	}
	return m.prefix + strings.ToLower(strings.ReplaceAll(host, ":", "-")) + "/"
}

// printMirror prints the configuration of a client.
func printMirror(out io.Writer, client string, m mirror) error {
	printers := map[string]func(io.Writer, mirror) error{
		"containerd": printContainerd, "crio": printCRIO, "docker": printDocker, "k3s": printK3s, "idms": printIDMS,
	}
	printer, ok := printers[client]
	if !ok {
		return usagef("--print-mirror %q is none of containerd, crio, docker, k3s and idms", client)
	}
	if strings.HasPrefix(m.host, "[") && (client == "crio" || client == "idms") {
		return fmt.Errorf("%s is no name that CRI-O can have of a mirror: give the registry a host name", m.host)
	}
	if len(m.hosts) == 0 {
		return fmt.Errorf("no image has a name by which a client could look for it")
	}
	return printer(out, m)
}

func printContainerd(out io.Writer, m mirror) error {
	for n, host := range m.hosts {
		upstream := host
		if host == dockerHub {
			upstream = "registry-1.docker.io"
		}
		separator := ""
		if n > 0 {
			separator = "\n"
		}
		path, override := "", ""
		if prefix := m.prefixOf(host); prefix != "" {
			path, override = "/v2/"+strings.TrimSuffix(prefix, "/"), "  override_path = true\n"
		}
		if m.insecure && m.scheme == "https://" {
			override += "  skip_verify = true\n"
		}
		if _, err := fmt.Fprintf(out, "%s# /etc/containerd/certs.d/%s/hosts.toml\nserver = %q\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n%s",
			separator, host, "https://"+upstream, m.scheme+m.host+path, override); err != nil {
			return err
		}
	}
	return nil
}

func printCRIO(out io.Writer, m mirror) error {
	for n, host := range m.hosts {
		separator := ""
		if n > 0 {
			separator = "\n"
		} else {
			separator = "# /etc/containers/registries.conf.d/mirror.conf\n"
		}
		insecure := ""
		if m.insecure {
			insecure = "insecure = true\n"
		}
		if _, err := fmt.Fprintf(out, "%s[[registry]]\nprefix = %[2]q\nlocation = %[2]q\n\n[[registry.mirror]]\nlocation = %[3]q\n%[4]s",
			separator, host, strings.TrimSuffix(m.host+"/"+m.prefixOf(host), "/"), insecure); err != nil {
			return err
		}
	}
	return nil
}

func printDocker(out io.Writer, m mirror) error {
	if !slices.Equal(m.hosts, []string{dockerHub}) || m.prefixOf(dockerHub) != "" {
		return fmt.Errorf("docker has mirrors of Docker Hub only, and without a prefix: the images are from %s", strings.Join(m.hosts, ", "))
	}
	insecure := ""
	if m.insecure {
		insecure = fmt.Sprintf(",\n  \"insecure-registries\": [%q]", m.host)
	}
	_, err := fmt.Fprintf(out, "{\n  \"registry-mirrors\": [%q]%s\n}\n", m.scheme+m.host, insecure)
	return err
}

func printK3s(out io.Writer, m mirror) error {
	var b strings.Builder
	b.WriteString("# /etc/rancher/k3s/registries.yaml\nmirrors:\n")
	for _, host := range m.hosts {
		fmt.Fprintf(&b, "  %q:\n    endpoint:\n      - %q\n", host, m.scheme+m.host)
		if prefix := m.prefixOf(host); prefix != "" {
			fmt.Fprintf(&b, "    rewrite:\n      \"^(.*)$\": %q\n", prefix+"$1")
		}
	}
	if m.insecure && m.scheme == "https://" {
		fmt.Fprintf(&b, "configs:\n  %q:\n    tls:\n      insecure_skip_verify: true\n", m.host)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func printIDMS(out io.Writer, m mirror) error {
	var b strings.Builder
	b.WriteString("apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nmetadata:\n  name: docker-archive\nspec:\n  imageDigestMirrors:\n")
	for _, host := range m.hosts {
		fmt.Fprintf(&b, "    - source: %s\n      mirrors:\n        - %s\n", host, strings.TrimSuffix(m.host+"/"+m.prefixOf(host), "/"))
	}
	_, err := io.WriteString(out, b.String())
	return err
}
