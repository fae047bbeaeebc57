package errdef_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"

	"github.com/dockerarchive/dockerarchive/errdef"
)

func TestErrorsAreFoundAndSayWhatIsWrong(t *testing.T) {
	many := make([]string, 25)
	for i := range many {
		many[i] = fmt.Sprintf("@%d", i)
	}
	want, got := digest.FromString("a"), digest.FromString("b")
	for _, c := range []struct {
		err     error
		message string
		is, not []error
	}{
		{
			&errdef.MismatchError{Name: "layer.tar", Want: want, Got: got},
			"layer.tar is damaged: its digest should be " + want.String() + " but is " + got.String(),
			[]error{errdef.ErrDamaged},
			[]error{errdef.ErrNoImageArchive, errdef.ErrLimit},
		},
		{
			errdef.Errorf(errdef.ErrDamaged, "reading %s: %w", "x", io.ErrUnexpectedEOF),
			"reading x: unexpected EOF",
			[]error{errdef.ErrDamaged, io.ErrUnexpectedEOF},
			[]error{errdef.ErrLimit},
		},
		{err: &errdef.NoImageError{}, message: "no image is in the archive", not: []error{errdef.ErrDamaged}},
		{err: &errdef.NoImageError{Wanted: "a:b"}, message: "no image is named a:b; there is no image"},
		{err: &errdef.NoImageError{Wanted: "a:b", Available: []string{"@0 c:d", "@1"}}, message: "no image is named a:b; there is @0 c:d, @1"},
		{err: &errdef.NoImageError{Wanted: "@2", Available: []string{"@0"}}, message: "no image at position @2; there is @0"},
		{err: &errdef.AmbiguousError{Matches: 2, Available: []string{"@0", "@1"}}, message: "2 images are in the archive, choose one of them: @0, @1"},
		{
			err:     &errdef.AmbiguousError{Matches: 25, Available: many},
			message: "25 images are in the archive, choose one of them: @0, @1, @2, @3, @4, @5, @6, @7, @8, @9, and 15 more",
		},
		{
			err:     &errdef.AmbiguousError{Wanted: "a:b", Matches: 2, Available: []string{"@0 a:b", "@1 a:b", "@2"}},
			message: "2 images are named a:b; choose one by its position: @0 a:b, @1 a:b, @2",
		},
		{
			err:     &errdef.NoPlatformError{Wanted: "linux/s390x", Available: []string{"linux/amd64", "linux/arm/v7"}},
			message: "there is no image for linux/s390x, only for linux/amd64, linux/arm/v7",
		},
		{
			err:     &errdef.NoPlatformError{Wanted: "linux/\n", Available: []string{"linux/\x1b[2J", "a\u202e"}},
			message: `there is no image for linux/\n, only for linux/\x1b[2J, a\u202e`,
		},
		{err: &errdef.NoImageError{Wanted: "a\a", Available: []string{"@0 \x1b"}}, message: `no image is named a\a; there is @0 \x1b`},
		{err: &errdef.NoImageError{Wanted: "@\a"}, message: `no image at position @\a; there is no image`},
		{err: &errdef.AmbiguousError{Wanted: "a\a", Matches: 2, Available: []string{"\n"}}, message: `2 images are named a\a; choose one by its position: \n`},
		{err: &errdef.MismatchError{Name: "a\n", Want: "\x1b", Got: "b"}, message: `a\n is damaged: its digest should be \x1b but is b`},
	} {
		assert.EqualError(t, c.err, c.message)
		wrapped := fmt.Errorf("doing something: %w", c.err)
		for _, kind := range c.is {
			assert.ErrorIs(t, wrapped, kind)
		}
		for _, kind := range c.not {
			assert.NotErrorIs(t, wrapped, kind)
		}
	}
	mismatch, ok := errors.AsType[*errdef.MismatchError](fmt.Errorf("x: %w", &errdef.MismatchError{Name: "n"}))
	assert.True(t, ok)
	assert.Equal(t, "n", mismatch.Name)
}
