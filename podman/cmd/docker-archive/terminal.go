package main

import (
	"io"
	"os"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/term"

	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// Output for people is made printable here and wherever a line is put together: the
// maker of an archive chooses its names and documents, and errors quote them.

func isTerminal(w io.Writer) bool {
	f := fileOf(w)
	return f != nil && term.IsTerminal(int(f.Fd()))
}

// shown returns a writer for output that scripts get byte for byte, and people
// printable.
func shown(out io.Writer) io.Writer {
	if isTerminal(out) {
		return printable.Writer{W: out}
	}
	return out
}

// hasCursor reports whether w is a terminal whose cursor can be moved.
func hasCursor(w io.Writer) bool { return isTerminal(w) && os.Getenv("TERM") != "dumb" }

// hasColors reports whether w is a terminal with colours that the user wants.
func hasColors(w io.Writer) bool { return hasCursor(w) && os.Getenv("NO_COLOR") == "" }

// logFormatter is logrus' own. logrus quotes messages itself, except in colour.
type logFormatter struct{ logrus.TextFormatter }

func newLogFormatter(out io.Writer) *logFormatter {
	color := hasColors(out)
	return &logFormatter{logrus.TextFormatter{ForceColors: color, DisableColors: !color}}
}

// Format implements logrus.Formatter.
func (f *logFormatter) Format(e *logrus.Entry) ([]byte, error) {
	if f.ForceColors {
		e.Message = printable.String(strings.TrimSuffix(e.Message, "\n"))
	}
	return f.TextFormatter.Format(e)
}
