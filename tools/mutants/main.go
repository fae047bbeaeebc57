// Command mutants tells what the tests of a package do not notice. It changes one
// thing of the package at a time, such as a comparison, a condition or a
// statement, and lists the changes under which the tests still pass. Each of them
// is either a missing test or a change that means nothing.
//
// The changes are handed to the go command as an overlay, so that no file of the
// source is touched.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	var t tester
	var limit time.Duration
	flag.StringVar(&t.tags, "tags", "", "build `TAGS`")
	flag.StringVar(&t.exec, "exec", "", "`COMMAND` to run test binaries with, as of go test")
	flag.DurationVar(&limit, "time", 10*time.Minute, "stop after `TIME` per package")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed := false
	for _, pattern := range flag.Args() {
		packages, err := list(ctx, t.tags, pattern)
		if err == nil {
			err = t.testAll(ctx, packages, limit)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "mutants: %v\n", err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// pkg is a package as go list shows it.
type pkg struct {
	ImportPath                string
	Dir                       string
	GoFiles                   []string
	TestGoFiles, XTestGoFiles []string
}

func list(ctx context.Context, tags, pattern string) ([]pkg, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles", "-tags", tags, pattern).Output()
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", pattern, err)
	}
	var packages []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			return nil, fmt.Errorf("listing %s: %w", pattern, err)
		}
		packages = append(packages, p)
	}
	return packages, nil
}

// tester runs tests.
type tester struct {
	tags, exec string
	dir        string        // for temporary files
	patience   time.Duration // after which a test is taken to hang
}

func (t *tester) testAll(ctx context.Context, packages []pkg, limit time.Duration) error {
	for _, p := range packages {
		if len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
			fmt.Printf("%s: no tests of its own\n", p.ImportPath)
			continue
		}
		if err := t.testPackage(ctx, p, limit); err != nil {
			return fmt.Errorf("%s: %w", p.ImportPath, err)
		}
	}
	return nil
}

// testPackage tries the mutants of a package in a random order, the same each
// time, so that a run that is cut short has tried some of everywhere.
func (t *tester) testPackage(ctx context.Context, p pkg, limit time.Duration) (err error) {
	if t.dir, err = os.MkdirTemp("", "mutants"); err != nil {
		return err
	}
	defer os.RemoveAll(t.dir) // Temporary anyway.
	covered, err := t.baseline(ctx, p)
	if err != nil {
		return err
	}
	var mutants []mutant
	for _, name := range p.GoFiles {
		found, err := mutantsOf(filepath.Join(p.Dir, name))
		if err != nil {
			return err
		}
		mutants = append(mutants, found...)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(mutants), func(i, j int) { mutants[i], mutants[j] = mutants[j], mutants[i] })
	count := map[outcome]int{}
	var survivors []mutant
	start := time.Now()
	for _, m := range mutants {
		o := survived
		if time.Since(start) > limit {
			o = untried
		} else if covered.has(p.ImportPath, m) {
			if o, err = t.try(ctx, p, m); err != nil {
				return err
			}
		}
		count[o]++
		if o == survived {
			survivors = append(survivors, m)
		}
	}
	slices.SortFunc(survivors, func(a, b mutant) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.start, b.start))
	})
	for _, m := range survivors {
		note := ""
		if !covered.has(p.ImportPath, m) {
			note = " (not run by any test)"
		}
		fmt.Printf("%s:%d: %s%s\n", filepath.Base(m.file), m.line, m.what, note)
	}
	fmt.Printf("%s: %d mutants, %d killed (%d of them by a timeout), %d survived, %d do not compile, %d not tried\n",
		p.ImportPath, len(mutants), count[killed]+count[hung], count[hung], count[survived], count[unviable], count[untried])
	return nil
}

// baseline runs the tests as they are, and returns which lines they run.
func (t *tester) baseline(ctx context.Context, p pkg) (coverage, error) {
	t.patience = 5 * time.Minute
	profile := filepath.Join(t.dir, "cover")
	start := time.Now()
	if out, err := t.test(ctx, p, "-coverprofile", profile); err != nil {
		return nil, fmt.Errorf("the tests fail without a change: %w\n%s", err, out)
	}
	t.patience = 20*time.Second + 3*time.Since(start)
	return readCoverage(profile)
}

// outcome is what became of a mutant.
type outcome int

const (
	killed outcome = iota
	hung
	survived
	unviable
	untried
)

func (t *tester) try(ctx context.Context, p pkg, m mutant) (outcome, error) {
	source, overlay := filepath.Join(t.dir, "mutant.go"), filepath.Join(t.dir, "overlay.json")
	if err := os.WriteFile(source, m.source(), 0o600); err != nil {
		return 0, err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {m.file: source}})
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		return 0, err
	}
	out, err := t.test(ctx, p, "-overlay", overlay)
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err == nil:
		return survived, nil
	case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		return unviable, nil
	case strings.Contains(out, "panic: test timed out"):
		return hung, nil
	}
	return killed, nil
}

func (t *tester) test(ctx context.Context, p pkg, args ...string) (string, error) {
	args = append([]string{"test", "-count=1", "-short", "-vet=off", "-failfast",
		"-timeout", t.patience.String(), "-tags", t.tags, "-exec", t.exec}, append(args, ".")...)
	// A test that its own timeout does not end ends here.
	ctx, cancel := context.WithTimeout(ctx, t.patience+2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = p.Dir
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
