// Command bench compares this module with containers/image's own docker/archive,
// in time, memory and bytes written, on a generated image of a realistic size,
// and prints one table. Run it with "make bench".
//
// Every run is a process of its own, so that peak memory and bytes written are
// those of the run. Both sides do the same work: the archives they write are
// compared. Machines, and what else runs on them, differ, so what counts are the
// ratios: runs alternate between the two sides, and the median is taken. The exit
// status says whether everything worked, not how fast.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// options are the flags of the command.
type options struct {
	data       string
	out        string
	runs       int
	only       string
	limits     bool
	cpuProfile string

	// For the processes that the command starts of itself.
	child    string
	registry string
	output   string
}

func parseOptions() (*options, error) {
	o := &options{}
	flag.StringVar(&o.data, "data", ".data", "`directory` of the generated images, which are kept")
	flag.StringVar(&o.out, "out", "", "`directory` for what the runs write, on the same file system; default: in that of -data")
	flag.IntVar(&o.runs, "n", 3, "runs of each case and side")
	flag.StringVar(&o.only, "cases", "", "comma-separated `names` of the cases to run; default: all")
	flag.BoolVar(&o.limits, "limits", true, "also measure what this machine can do at best")
	flag.StringVar(&o.cpuProfile, "cpuprofile", "", "write the profile of the last run of ours to `prefix`.CASE.prof")
	flag.StringVar(&o.child, "child", "", "for internal use")
	flag.StringVar(&o.registry, "registry", "", "for internal use")
	flag.StringVar(&o.output, "output", "", "for internal use")
	flag.Parse()
	if flag.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if o.runs < 1 {
		return nil, fmt.Errorf("-n %d: at least one run is needed", o.runs)
	}
	return o, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o, err := parseOptions()
	if err != nil {
		return err
	}
	if o.child != "" {
		return runChild(ctx, o)
	}
	return runAll(ctx, o)
}

func runAll(ctx context.Context, o *options) (err error) {
	selected, err := selectCases(o.only)
	if err != nil {
		return err
	}
	data, err := prepareDataset(ctx, o.data)
	if err != nil {
		return err
	}
	if o.out == "" {
		o.out = o.data
	}
	scratch, err := os.MkdirTemp(o.out, "run-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	o.output = filepath.Join(scratch, "output")

	server, err := startRegistry(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	o.registry = server.addresses[fast]

	data.describe(os.Stdout)
	r := &runner{options: o, data: data, server: server}
	if o.limits {
		if err := r.printLimits(ctx, os.Stdout); err != nil {
			return err
		}
	}
	var rows []row
	for _, c := range selected {
		if err := c.leftOut(); err != nil {
			rows = append(rows, row{benchCase: c, skipped: err})
			continue
		}
		result, err := r.compare(ctx, c)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
		rows = append(rows, result)
	}
	if len(rows) > 0 {
		if err := printTable(os.Stdout, rows); err != nil {
			return err
		}
	}
	if o.only == "" || slices.ContainsFunc(strings.Split(o.only, ","), isGrowing) {
		return r.printGrowing(ctx, os.Stdout)
	}
	return nil
}

// findClient fails if a client has neither been built nor installed.
func findClient(name string) error {
	_, err := os.Stat(filepath.Join(clientsDir, name))
	if err != nil {
		if _, lookErr := exec.LookPath(name); lookErr == nil {
			return nil
		}
	}
	return err
}

func selectCases(names string) ([]benchCase, error) {
	if names == "" {
		return allCases(), nil
	}
	var selected []benchCase
	for name := range strings.SplitSeq(names, ",") {
		if isGrowing(name) {
			continue
		}
		c, err := findCase(name)
		if err != nil {
			return nil, err
		}
		selected = append(selected, c)
	}
	return selected, nil
}
