//go:build linux

package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// pageRow is a row of docs/speed.md: what is compared, our time, theirs, the ratio, and the name of
// the case.
var pageRow = regexp.MustCompile("^(\\| .* )\\| [^|]* \\| [^|]* \\| [^|]* \\| `([a-z0-9-]+)` \\|$")

// updatePage writes measured times into the rows of a page, by the names of their cases. Rows of cases
// that did not run stay as they are.
func updatePage(path string, measured map[string]pageTimes) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		m := pageRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		times, ok := measured[m[2]]
		switch {
		case !ok:
		case times.theirs == 0:
			lines[i] = fmt.Sprintf("%s| %.2f s | gives up | – | `%s` |", m[1], times.ours, m[2])
		default:
			lines[i] = fmt.Sprintf("%s| %.2f s | %.2f s | %.2f | `%s` |", m[1], times.ours, times.theirs, times.ours/times.theirs, m[2])
		}
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644)
}

// pageTimes are the wall times of both sides of a case, in seconds. Theirs is 0 if it gave up.
type pageTimes struct{ ours, theirs float64 }
