package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// billOfMaterials writes the parts of a build, as CycloneDX: the modules whose packages are
// linked for its platform, and which needs which.
func (d *dist) billOfMaterials(b build) error {
	sum, _, err := sumOf(b.binary)
	if err != nil {
		return err
	}
	bom := cdx.NewBOM()
	bom.SerialNumber = serialOf(sum)
	main := &cdx.Component{
		BOMRef: command, Type: cdx.ComponentTypeApplication, Name: command, Version: d.tag, Description: title,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}}, Licenses: licencesOf([]string{license}),
		PackageURL:         purl(ours+"/podman", d.tag) + "#cmd/" + command,
		ExternalReferences: &[]cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: home, Comment: d.commit}},
		Properties:         &[]cdx.Property{{Name: "platform", Value: b.String()}},
	}
	bom.Metadata = &cdx.Metadata{
		Timestamp: d.time.Format(time.RFC3339), Component: main,
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: ours + "/release/dist", Version: d.tag}}},
	}
	components, dependencies := []cdx.Component{}, []cdx.Dependency{{Ref: command, Dependencies: &[]string{ours + "/podman"}}}
	for _, m := range b.linked {
		c := cdx.Component{
			BOMRef: m.path, Type: cdx.ComponentTypeLibrary, Name: m.path, Version: m.version, Scope: cdx.ScopeRequired,
			PackageURL: purl(m.path, m.version), Licenses: licencesOf(m.licences),
		}
		if m.sum != "" {
			c.Properties = &[]cdx.Property{{Name: "go.sum", Value: m.sum}}
		}
		components = append(components, c)
		needs := slices.Clone(m.needs)
		dependencies = append(dependencies, cdx.Dependency{Ref: m.path, Dependencies: &needs})
	}
	bom.Components, bom.Dependencies = &components, &dependencies
	name := fmt.Sprintf("%s_%s_%s.cdx.json", command, d.version(), b.name())
	return d.write(name, func(w io.Writer) error {
		return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6)
	})
}

func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}

func licencesOf(ids []string) *cdx.Licenses {
	licences := cdx.Licenses{}
	for _, id := range ids {
		licences = append(licences, cdx.LicenseChoice{License: &cdx.License{ID: id}})
	}
	return &licences
}

// serialOf returns the UUID that belongs to a binary: a name's, with SHA-256 (version 8).
func serialOf(sum string) string {
	u := sha256.Sum256([]byte("CycloneDX of " + sum))
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
