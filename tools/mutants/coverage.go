package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// coverage holds the blocks of a cover profile.
type coverage []block

type block struct {
	file                string // import path and base name
	startLine, startCol int
	endLine, endCol     int
	count               int
}

func readCoverage(profile string) (coverage, error) {
	data, err := os.ReadFile(profile)
	if err != nil {
		return nil, err
	}
	var c coverage
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for _, line := range lines[1:] { // Behind the mode.
		var b block
		var statements int
		i := strings.LastIndexByte(line, ':')
		if i < 0 {
			return nil, fmt.Errorf("reading a cover profile: no file in %q", line)
		}
		b.file = line[:i]
		if _, err := fmt.Sscanf(line[i+1:], "%d.%d,%d.%d %d %d",
			&b.startLine, &b.startCol, &b.endLine, &b.endCol, &statements, &b.count); err != nil {
			return nil, fmt.Errorf("reading a cover profile: %q: %w", line, err)
		}
		c = append(c, b)
	}
	return c, nil
}

// has reports whether a mutant is where the tests come by. What is in no block,
// such as a constant, may be anywhere.
func (c coverage) has(importPath string, m mutant) bool {
	name := importPath + "/" + filepath.Base(m.file)
	for _, b := range c {
		if b.file == name && b.contains(m.line, m.col) {
			return b.count > 0
		}
	}
	return true
}

func (b block) contains(line, col int) bool {
	afterStart := line > b.startLine || line == b.startLine && col >= b.startCol
	beforeEnd := line < b.endLine || line == b.endLine && col < b.endCol
	return afterStart && beforeEnd
}
