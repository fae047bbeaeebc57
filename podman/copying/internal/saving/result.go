package saving

import (
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
)

// Result is the result for an image. See copying.SaveResult for the fields.
type Result struct {
	Image     selecting.Wanted
	Digest    digest.Digest
	Size      int64
	Platforms []string
	LeftOut   []errdef.LeftOut
	Warnings  []string
	Subject   digest.Digest
	Err       error
}

func (s *saver) results() []Result {
	results := make([]Result, len(s.from.Images))
	for i, img := range s.from.Images {
		results[i] = Result{
			Image: img.Wanted, Digest: img.Digest, Size: s.whole().Images[i].Size(), Platforms: img.Platforms, LeftOut: img.LeftOut(),
			Warnings: img.Warnings, Subject: img.Subject(), Err: s.from.Err(img),
		}
	}
	return results
}
