package selecting

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// warnOfIndexes warns of referrers to an index that is not saved: cosign signs the index,
// and its signature is of no use for one of the platforms.
func (g *gathering) warnOfIndexes(ctx context.Context, images []*Image) error {
	var questions []question
	for _, img := range images {
		if img.dropped != "" && !g.selection.hasDocument(img.dropped) {
			questions = append(questions, question{img, img.dropped})
		}
	}
	return g.each(ctx, len(questions), func(n int) *Image { return questions[n].about }, func(ctx context.Context, n int) error {
		q := questions[n]
		found, err := g.ask(ctx, q)
		if err != nil {
			return err
		}
		count := 0
		for _, r := range found {
			if r.about.isList {
				continue
			}
			if err := g.resolve(ctx, r); err != nil {
				return err
			}
			if r.about.keep {
				count++
			}
		}
		if count > 0 {
			q.about.Warn("%d signatures or other referrers are not saved: they are about its index %s, which is not saved either; --keep-index or --all-platforms saves both", count, q.subject)
		}
		return nil
	})
}

// hasDocument reports whether one of the images is, or leads to, a manifest or index.
func (s *Selection) hasDocument(d digest.Digest) bool {
	for img := range s.Good() {
		for _, document := range img.Documents {
			if document.Descriptor.Digest == d {
				return true
			}
		}
	}
	return false
}
