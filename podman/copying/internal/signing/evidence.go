package signing

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
)

// statement is a signed statement: that an image has a digest.
type statement struct {
	repository string // that it is of, "" if it is of none
	predicate  string // the type of an attestation, "" for a signature
}

// evidence is all that an archive has for and against the digests of images.
type evidence struct {
	wanted     string // the type of an attestation, "" for a signature
	statements map[digest.Digest][]statement
	rejected   map[digest.Digest][]error // why something about an image counts for nothing
}

func (e *evidence) add(d digest.Digest, s statement) {
	if s.predicate == cosignSigned {
		s.predicate = ""
	}
	e.statements[d] = append(e.statements[d], s)
}

func (e *evidence) reject(d digest.Digest, err error) {
	const enough = 5 // for a person to read
	if len(e.rejected[d]) < enough {
		e.rejected[d] = append(e.rejected[d], err)
	}
}

// NamelessError is returned for an image that is signed as one of a repository, but has no name
// in the archive to compare with that.
type NamelessError struct {
	SignedAs string // as the signature has it
}

// Error implements error.
func (e *NamelessError) Error() string {
	return fmt.Sprintf("it is signed as %q, but has no name that a signature could be for; say which repository it is signed as", e.SignedAs)
}

// vouch returns why the evidence is not enough for an image of a repository.
func (e *evidence) vouch(d digest.Digest, repository string, options Options) error {
	if options.Identity != "" {
		repository = options.Identity
	}
	reasons := slices.Clone(e.rejected[d])
	for _, s := range e.statements[d] {
		switch {
		case s.predicate != e.wanted && s.predicate == "":
			// It is a signature, and an attestation is wanted.
		case s.predicate != e.wanted:
			reasons = append(reasons, fmt.Errorf("there is an attestation of the type %q", s.predicate))
		case s.repository == "" || isOf(s.repository, repository):
			return nil
		case repository == "":
			reasons = append(reasons, &NamelessError{SignedAs: s.repository})
		default:
			reasons = append(reasons, fmt.Errorf("it is signed as %q, not as %q", s.repository, repository))
		}
	}
	what := "signature"
	if e.wanted != "" {
		what = fmt.Sprintf("attestation of the type %q", e.wanted)
	}
	if len(reasons) == 0 {
		return fmt.Errorf("the archive has no %s of %s", what, d)
	}
	return fmt.Errorf("the archive has no valid %s of %s: %w", what, d, errors.Join(reasons...))
}

// isOf reports whether the identity in a signature is the name of a repository, or of
// something in it.
func isOf(signed, repository string) bool {
	named, err := reference.ParseNormalizedNamed(signed)
	if err != nil {
		return false
	}
	want, err := reference.ParseNormalizedNamed(repository)
	return err == nil && named.Name() == want.Name()
}
