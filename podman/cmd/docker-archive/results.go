package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/internal/output"
)

// results is standard output. It remembers a failed write, so that no command succeeds whose
// results are lost, wherever it wrote them.
type results struct {
	file *os.File
	err  error
}

// Write implements io.Writer.
func (r *results) Write(p []byte) (int, error) {
	n, err := r.file.Write(p)
	if err != nil && r.err == nil {
		r.err = err
	}
	return n, err
}

// close tells whether all has been written. Some file systems say so only now.
func (r *results) close() error {
	err := r.file.Close()
	if r.err != nil {
		err = r.err
	}
	if err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

// answers are the commands that only print. The others may run without a standard output, for
// their effect or their exit status.
var answers = []string{"list", "inspect", "files", "cat", "layers", "tags", "list-tags", "digest"}

// asking are flags that ask other commands for an answer.
var asking = []string{"json", "dry-run", "print-mirror"}

func isAnswer(cmd *cobra.Command) bool {
	return slices.Contains(answers, cmd.Name()) || slices.ContainsFunc(asking, func(name string) bool {
		flag := cmd.Flag(name)
		return flag != nil && flag.Changed && flag.Value.String() != "false"
	})
}

// checkAnswer fails if the answer of a command would be lost. Go opens the null device in the
// place of a standard output that is closed, so that no write fails.
func checkAnswer(cmd *cobra.Command) error {
	f := fileOf(cmd.OutOrStdout())
	if f == nil || !isAnswer(cmd) {
		return nil
	}
	if err := output.CheckOpen(f); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

// fileOf returns the file that a writer is, or nil.
func fileOf(w io.Writer) *os.File {
	switch w := w.(type) {
	case *os.File:
		return w
	case *results:
		return w.file
	}
	return nil
}
