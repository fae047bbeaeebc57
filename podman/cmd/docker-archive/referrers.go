package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/pflag"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// allTypes is the value of --referrers without a type.
const allTypes = "*"

func registerReferrers(f *pflag.FlagSet, types *[]string) {
	f.StringSliceVar(types, "referrers", nil, "save signatures, SBOMs and the like, all or of `TYPE`; repeatable")
	f.Lookup("referrers").NoOptDefVal = allTypes
}

// referrerOptions translates --referrers for the library; nil if it was not given.
func referrerOptions(types []string) *copying.ReferrerOptions {
	switch {
	case len(types) == 0:
		return nil
	case slices.Contains(types, allTypes):
		return &copying.ReferrerOptions{}
	}
	return &copying.ReferrerOptions{ArtifactTypes: types}
}

// printReferrers prints the referrers in an archive, if it has any.
func printReferrers(out io.Writer, images []dockerarchive.ImageInfo) error {
	subjects := map[digest.Digest]string{}
	found := false
	for _, img := range images {
		if img.IsReferrer() {
			found, img.Manifests = true, nil // Manifests in a referrers tag have names of their own.
		}
		nameSubjects(subjects, rowNames(img)[0], img.ManifestInfo)
	}
	if !found {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\nSUBJECT\tTYPE\tDIGEST\tSIZE\tREFERRER") // REFERRER is last, as its names are long.
	for _, img := range images {
		if !img.IsReferrer() {
			continue
		}
		size := units.HumanSize(float64(img.Size))
		if img.Error != "" {
			size = fmt.Sprintf("broken: %q", img.Error)
		}
		for n, name := range rowNames(img) {
			subject := cmp.Or(subjects[img.Subjects[n]], short(img.Subjects[n])+" (not in the archive)")
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", subject, cmp.Or(img.ArtifactType, img.MediaType), short(img.Digest), size, name)
		}
	}
	return w.Flush()
}

// nameSubjects records names for the possible subjects of referrers.
func nameSubjects(names map[digest.Digest]string, name string, m dockerarchive.ManifestInfo) {
	if m.Missing {
		return
	}
	if _, ok := names[m.Digest]; !ok {
		names[m.Digest] = name
	}
	for _, child := range m.Manifests {
		called := name
		if !child.Platform.IsZero() {
			called += " (" + child.Platform.String() + ")"
		}
		nameSubjects(names, called, child)
	}
}
