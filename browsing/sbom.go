package browsing

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// maxPackages is how many packages of an SBOM are shown.
const maxPackages = 50_000

// software is a package of an SBOM.
type software struct{ Name, Version, License, Kind string }

// sbom is the content of an SBOM.
type sbom struct {
	format   string
	packages []software
	cut      bool // there are more
}

func (s *sbom) weight() int64 { return int64(len(s.packages)) * 200 }
func (s *sbom) close()        {}

// parseSBOM reads SPDX or CycloneDX in JSON, also inside of an in-toto statement and of a
// DSSE envelope. It takes memory only for the shown part: packages are read one by one.
func parseSBOM(data []byte) (*sbom, error) {
	s := &sbom{}
	if err := s.parse(json.NewDecoder(bytes.NewReader(payload(data))), 0); err != nil {
		return nil, errdef.Errorf(errdef.ErrDamaged, "reading the SBOM: %w", err)
	}
	if s.format == "" {
		return nil, errdef.Errorf(errdef.ErrDamaged, "the document is neither SPDX nor CycloneDX in JSON")
	}
	slices.SortStableFunc(s.packages, func(a, b software) int { return cmp.Compare(a.Name, b.Name) })
	return s, nil
}

// parse reads an object.
func (s *sbom) parse(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return fmt.Errorf("%v is no object", t)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		switch {
		case name == "predicate" && depth == 0:
			err = s.parse(d, depth+1)
		case name == "packages" || name == "components":
			err = s.list(d)
		default:
			err = s.other(d, name)
		}
		if err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// other reads a value that identifies the document, or is not needed.
func (s *sbom) other(d *json.Decoder, name json.Token) error {
	var value json.RawMessage
	if err := d.Decode(&value); err != nil {
		return err
	}
	var version string
	switch name {
	case "spdxVersion":
		_ = json.Unmarshal(value, &version) // Any other type is no version.
		s.format = "SPDX " + text(strings.TrimPrefix(version, "SPDX-"))
	case "bomFormat":
		s.format = strings.TrimSpace("CycloneDX " + strings.TrimPrefix(s.format, "specVersion "))
	case "specVersion":
		_ = json.Unmarshal(value, &version)
		if strings.HasPrefix(s.format, "CycloneDX") {
			s.format += " " + text(version)
		} else if s.format == "" {
			s.format = "specVersion " + text(version)
		}
	}
	return nil
}

// list reads packages.
func (s *sbom) list(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil || t != json.Delim('[') {
		return cmp.Or(err, fmt.Errorf("%v is no list", t))
	}
	for d.More() {
		if len(s.packages) == maxPackages {
			s.cut = true
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return err
			}
			continue
		}
		var p struct {
			Name             string          `json:"name"`
			Version          string          `json:"version"`
			VersionInfo      string          `json:"versionInfo"`
			Type             string          `json:"type"`
			Purpose          string          `json:"primaryPackagePurpose"`
			LicenseConcluded string          `json:"licenseConcluded"`
			LicenseDeclared  string          `json:"licenseDeclared"`
			Licenses         json.RawMessage `json:"licenses"`
		}
		if err := d.Decode(&p); err != nil {
			return err
		}
		license := p.LicenseConcluded
		if license == "" || license == "NOASSERTION" || license == "NONE" {
			license = p.LicenseDeclared
		}
		if license == "NOASSERTION" || license == "NONE" {
			license = ""
		}
		s.packages = append(s.packages, software{
			Name: limited(p.Name), Version: limited(cmp.Or(p.Version, p.VersionInfo)),
			License: limited(cmp.Or(license, cycloneLicenses(p.Licenses))), Kind: limited(strings.ToLower(cmp.Or(p.Type, p.Purpose))),
		})
	}
	_, err = d.Token()
	return err
}

// cycloneLicenses returns the licenses of a component of CycloneDX.
func cycloneLicenses(raw json.RawMessage) string {
	var all []struct {
		Expression string `json:"expression"`
		License    struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"license"`
	}
	if len(raw) > 4096 || json.Unmarshal(raw, &all) != nil {
		return ""
	}
	var names []string
	for _, l := range all {
		names = append(names, cmp.Or(l.Expression, l.License.ID, l.License.Name))
	}
	return strings.Join(names, ", ")
}

// limited is text that is not too long for a table.
func limited(s string) string {
	const enough = 200
	if len(s) > enough {
		s = strings.ToValidUTF8(s[:enough], "") + "…"
	}
	return text(s)
}

// payload returns the content of a DSSE envelope, or the data itself.
func payload(data []byte) []byte {
	var envelope struct {
		Payload string `json:"payload"`
		Inner   struct {
			Payload string `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if json.Unmarshal(data, &envelope) != nil {
		return data
	}
	encoded := cmp.Or(envelope.Payload, envelope.Inner.Payload)
	if encoded == "" {
		return data
	}
	inner, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return data
	}
	return inner
}
