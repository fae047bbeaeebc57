//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// make bench writes the table of docs/speed.md: every row has the name of a case.
func TestPage(t *testing.T) {
	data, err := os.ReadFile("../docs/speed.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| |") {
			continue
		}
		rows++
		m := pageRow.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Errorf("no row with the name of a case: %s", line)
		} else if !slices.ContainsFunc(slices.Concat(cases, realCases()), func(c benchCase) bool { return c.name == m[2] }) {
			t.Errorf("there is no case %q", m[2])
		}
	}
	if rows < 20 {
		t.Errorf("%d rows", rows)
	}
	path := filepath.Join(t.TempDir(), "speed.md")
	if err := os.WriteFile(path, []byte("# x\n| `a` → b | 1 s | 2 s | 0.50 | `save` |\n| c | 1 s | 2 s | 0.50 | `oci` |\n| d | – | – | – | `docker-registry-failing-crane` |\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := updatePage(path, map[string]pageTimes{"save": {1, 4}, "none": {1, 1}, "docker-registry-failing-crane": {2, 0}}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "# x\n| `a` → b | 1.00 s | 4.00 s | 0.25 | `save` |\n| c | 1 s | 2 s | 0.50 | `oci` |\n| d | 2.00 s | gives up | – | `docker-registry-failing-crane` |\n"; string(got) != want {
		t.Errorf("got %q", got)
	}
}
