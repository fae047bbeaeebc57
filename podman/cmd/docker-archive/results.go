package main

import (
	"fmt"
	"io"
	"os"
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
