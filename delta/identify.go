package delta

import (
	"context"
	"errors"
	"io"
	"math"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

const (
	// sampleSize is the size of the text from which a target's encoder is
	// identified.
	sampleSize = 3 << 20
	// goodEnough is the share of wrong predictions, one in so many tokens, up to
	// which a model is taken rather than the tokens of the bases.
	goodEnough = 50
	// certain is the share, one in so many tokens, up to which no other model is
	// tried.
	certain = 2000
	// hopeless is the share of wrong predictions, one in so many of the first tokens, above which
	// a model is given up.
	hopeless       = 10
	hopelessTokens = 1 << 15
)

// errSampled ends the reading of a sample.
var errSampled = errors.New("sampled")

// identify chooses the predictor of a gzip file: the model of an encoder that does
// best with the beginning of the file, or the tokens of the bases if it does not do
// well and the delta may need them.
func (m *maker) identify(ctx context.Context, textSize int64) (Predictor, error) {
	best, fewest, total := Predictor(0), int64(math.MaxInt64), int64(0)
	for _, p := range models {
		wrong, all, err := m.sample(ctx, p, textSize, fewest)
		if err != nil {
			return 0, err
		}
		if wrong < fewest {
			best, fewest, total = p, wrong, all
		}
		if fewest <= total/certain {
			return best, nil
		}
	}
	if !m.textOnly && fewest > total/goodEnough {
		return OldTokens, nil
	}
	return best, nil
}

// sample returns how many tokens of the beginning of the target a model predicts
// wrongly. It ends early if that is no less than fewest.
func (m *maker) sample(ctx context.Context, model Predictor, textSize, fewest int64) (wrong, all int64, err error) {
	p, err := model.start(nil, nil)
	if err != nil {
		return 0, 0, err
	}
	c := &sampler{prediction: newPrediction(io.NewSectionReader(m.text.text, 0, textSize), p), fewest: fewest}
	in := &contextReader{ctx, io.NewSectionReader(m.target, 0, m.target.Size())}
	if _, err := readTokens(in, c.block); err != nil && err != errSampled {
		return 0, 0, err
	}
	return c.wrong, c.all, nil
}

// sampler counts tokens.
type sampler struct {
	*prediction
	wrong, all int64
	fewest     int64 // so many wrong tokens end the sample
}

func (c *sampler) block(b *deflate.Block, tokens []deflate.Token, text []byte) error {
	if b.Type == deflate.Stored {
		return c.advance(len(text))
	}
	c.all += int64(len(tokens))
	for len(tokens) > 0 {
		n, err := c.follow(tokens)
		if err != nil {
			return err
		}
		if tokens = tokens[n:]; len(tokens) == 0 {
			break
		}
		c.wrong++
		if err := c.advance(tokens[0].Len()); err != nil {
			return err
		}
		tokens = tokens[1:]
	}
	if c.all > hopelessTokens && c.wrong > c.all/hopeless && c.pos < sampleSize {
		// Count as if the rest were like this.
		c.wrong, c.all = c.wrong*sampleSize/c.pos, c.all*sampleSize/c.pos
		return errSampled
	}
	if c.pos > sampleSize || c.wrong >= c.fewest {
		return errSampled
	}
	return nil
}
