package input

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/parts"
)

// partFile is a file that is called like a part.
type partFile struct {
	*os.File
	size int64
	list *parts.List // nil if it has none
	bad  error       // why it cannot be read, although it has one
}

// partSet has the files that are named like the parts of an archive, by number. They need
// not belong together.
type partSet struct {
	archive string
	files   map[int]*partFile
}

func openSet(archive string, numbers []int) (*partSet, error) {
	s := &partSet{archive: archive, files: map[int]*partFile{}}
	for _, n := range numbers {
		f, err := os.Open(parts.Name(archive, n))
		if err != nil {
			return nil, s.close(err)
		}
		p := &partFile{File: f}
		s.files[n] = p
		info, err := f.Stat()
		if err != nil {
			return nil, s.close(err)
		}
		if p.size = info.Size(); info.Mode().IsRegular() {
			p.list, p.bad = parts.Read(f, p.size)
		}
	}
	return s, nil
}

// close closes the files, and joins its errors to err.
func (s *partSet) close(err error) error {
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// hasList reports whether any of the files has one, be it damaged.
func (s *partSet) hasList() bool {
	for _, f := range s.files {
		if f.list != nil || f.bad != nil {
			return true
		}
	}
	return false
}

// best returns the list that most of the files agree with, and how the others differ. The
// list is nil if there is none: the last part is missing then.
func (s *partSet) best() (best *parts.List, problems []string) {
	for _, n := range slices.Sorted(maps.Keys(s.files)) {
		f := s.files[n]
		if f.bad != nil {
			problems = append(problems, s.name(n)+": "+f.bad.Error())
		}
		if f.list == nil || f.bad != nil {
			continue
		}
		if found := s.compare(f.list, n); best == nil || len(found) < len(problems) {
			best, problems = f.list, found
		}
	}
	if best == nil && len(problems) == 0 {
		problems = s.withoutList()
	}
	return best, problems
}

// withoutList says what is missing if no part has a list.
func (s *partSet) withoutList() (problems []string) {
	last := 0
	for n := range s.files {
		last = max(last, n)
	}
	for n := range last {
		if s.files[n] == nil {
			problems = append(problems, s.name(n)+" is missing")
		}
	}
	return append(problems, fmt.Sprintf("%s, or another after it, is missing, or %s is cut short: none of the parts ends with their list", s.name(last+1), s.name(last)))
}

// compare says how the files differ from a list that one of them has.
func (s *partSet) compare(l *parts.List, number int) (problems []string) {
	last := len(l.Parts) - 1
	if number != last {
		problems = append(problems, fmt.Sprintf("%s has the list that %s should have", s.name(number), s.name(last)))
	}
	for i, p := range l.Parts {
		f := s.files[i]
		switch {
		case f == nil:
			problems = append(problems, s.name(i)+" is missing")
		case i == last && i == number: // Read has compared its size.
			problems = s.compareEnds(problems, l, i)
		case i == last: // It has been told.
		case f.size != p.Size:
			problems = append(problems, fmt.Sprintf("%s has %d bytes and should have %d", s.name(i), f.size, p.Size))
		default:
			problems = s.compareEnds(problems, l, i)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(s.files)) {
		if n > last && n != number {
			problems = append(problems, fmt.Sprintf("%s is of another archive: this one has %d parts", s.name(n), last+1))
		}
	}
	return problems
}

// compareEnds checks whether a part is the one of the list, another one of it, or none.
func (s *partSet) compareEnds(problems []string, l *parts.List, i int) []string {
	got, err := parts.Ends(s.files[i], l.Parts[i].Size)
	switch {
	case err != nil:
		return append(problems, err.Error())
	case got == l.Parts[i].Ends:
		return problems
	}
	if other := numberOf(l, got); other >= 0 {
		return append(problems, fmt.Sprintf("%s is what %s should be", s.name(i), s.name(other)))
	}
	return append(problems, s.name(i)+" is of another archive, or damaged")
}

func numberOf(l *parts.List, ends digest.Digest) int {
	return slices.IndexFunc(l.Parts, func(p parts.Part) bool { return p.Ends == ends })
}

func (s *partSet) name(number int) string { return filepath.Base(parts.Name(s.archive, number)) }
