//go:build linux

// Command bench compares docker-archive with today's tools, in time, memory and bytes
// written, on generated images of a realistic size, and prints one table. Run it with "make
// bench".
//
// A case is two lines of shell. Each run is a process of its own, so that peak memory and
// bytes written are those of the run. Machines and their load differ, so only the ratios
// count: runs alternate between the two sides, and the median is taken. The exit status
// says whether everything worked, not how fast.
//
// The figures come from Linux's /proc, and peaks below that of this process are not seen.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

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
	dir := flag.String("data", ".data", "`directory` of the generated images, which are kept, and of what the runs write")
	runs := flag.Int("n", 3, "runs of each case and side")
	only := flag.String("cases", "", "comma-separated `names` of the cases to run, or registries for real ones in all networks; default: all but these")
	page := flag.String("page", "", "Markdown `file` whose rows get the times, by the names of the cases")
	flag.Parse()
	if work, ok := helpers[flag.Arg(0)]; ok {
		return work(ctx, flag.Args()[1:])
	}
	if flag.NArg() > 0 || *runs < 1 {
		flag.Usage()
		return errors.New("-n is at least 1, and there are no arguments")
	}
	selected, err := selectCases(*only)
	if err != nil {
		return err
	}
	return compareAll(ctx, *dir, *page, *runs, selected)
}

func selectCases(only string) ([]benchCase, error) {
	switch only {
	case "":
		return cases, nil
	case "registries": // It takes an hour.
		return realCases(), nil
	}
	cases := slices.Concat(cases, realCases())
	var selected []benchCase
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(cases, func(c benchCase) bool { return c.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no case %q", name)
		}
		selected = append(selected, cases[i])
	}
	return selected, nil
}

func compareAll(ctx context.Context, dir, page string, runs int, selected []benchCase) (err error) {
	data, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	r := &runner{runs: runs, data: data, times: map[string]pageTimes{}}
	if err := r.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.describe(os.Stdout); err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\ncase\tours\ttheirs\tratio\tgoal\tCPU time\tpeak memory\twritten ÷ size\tmoved ÷ distinct\tgoal")
	for _, c := range selected {
		if missing := c.missing(); missing != "" {
			fmt.Fprintf(table, "%s\tskipped: needs %s, from \"make interop\" or a package\n", c.title, missing)
			continue
		}
		if err := r.compare(ctx, c, table); err != nil {
			return errors.Join(fmt.Errorf("case %s: %w", c.name, err), table.Flush())
		}
	}
	fmt.Fprintln(table, "goal for all\t\t\t\t\t\t64 MB\t1.02\t\t")
	if err := table.Flush(); err != nil || page == "" {
		return err
	}
	return updatePage(page, r.times)
}
