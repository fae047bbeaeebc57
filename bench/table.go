package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// printTable prints what was measured; every pair is ours / theirs.
func printTable(out io.Writer, rows []row) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\ncase\tours\ttheirs\tratio\tgoal\tCPU time\tpeak memory\twritten ÷ size\tmoved ÷ distinct")
	for _, r := range rows {
		if r.skipped != nil {
			fmt.Fprintf(table, "%s\tskipped: %v\n", r.title, r.skipped)
			continue
		}
		fmt.Fprintf(table, "%s\t%.2f s\t%.2f s\t%.2f\t%s\t%.1f / %.1f s\t%.0f / %.0f MB\t%s\t%s\n",
			r.title, r.ours.wall.Seconds(), r.theirs.wall.Seconds(),
			r.ours.wall.Seconds()/r.theirs.wall.Seconds(), r.goals(),
			r.ours.cpu.Seconds(), r.theirs.cpu.Seconds(),
			mb(r.ours.Peak), mb(r.theirs.Peak),
			written(r),
			ratios(r.ours.moved, r.theirs.moved, r.distinct))
	}
	fmt.Fprintln(table, "goal for all\t\t\t\t\t\t64 MB\t1.02\t1.00")
	return table.Flush()
}

func (r row) goals() string {
	switch {
	case r.goal == 0:
		return "-"
	case r.later == 0:
		return fmt.Sprintf("%.2f", r.goal)
	}
	return fmt.Sprintf("%.2f (%.2f)", r.goal, r.later)
}

// written leaves out outputs that are smaller than what else a process writes.
func written(r row) string {
	if r.ours.size < 1e6 {
		return "-"
	}
	return ratios(r.ours.Written, r.theirs.Written, r.ours.size)
}

// ratios returns ours ÷ of and theirs ÷ of.
func ratios(ours, theirs, of int64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f / %.2f", float64(ours)/float64(of), float64(theirs)/float64(of))
}
