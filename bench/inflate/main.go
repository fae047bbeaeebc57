// Command inflate compares the package internal/inflate with klauspost/compress
// and compress/gzip on one core: on the gzip files it is given, such as the
// layers of an image, and on other kinds of data. As a whole process it compares
// it with ISA-L's igzip, if that is installed. Run it with "make bench".
//
// All decoders verify the checksum of what they decode. They take turns, and
// the median of their turns counts. What is printed is a table of ratios; the
// exit status says whether everything worked, not how fast.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"text/tabwriter"

	"github.com/dockerarchive/dockerarchive/internal/inflate"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "inflate:", err)
		os.Exit(1)
	}
}

func run() error {
	turns := flag.Int("n", 5, "turns of each decoder")
	profile := flag.String("cpuprofile", "", "write a CPU profile to `file`")
	decompress := flag.Bool("decompress", false, "for internal use")
	flag.Parse()
	if *turns < 1 {
		return fmt.Errorf("-n %d: at least one turn is needed", *turns)
	}
	runtime.GOMAXPROCS(1)
	if *decompress {
		return decompressTo(os.Stdout, flag.Arg(0))
	}
	inputs, err := allInputs(flag.Args())
	if err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return printTable(os.Stdout, inputs, *turns)
}

// decompressTo is what the process does that is compared with igzip.
func decompressTo(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := inflate.NewReader(f)
	if err != nil {
		return err
	}
	_, err = z.WriteTo(w)
	return errors.Join(err, z.Close())
}

func printTable(out io.Writer, inputs []input, turns int) error {
	igzip, err := exec.LookPath("igzip")
	if err != nil {
		fmt.Fprintln(os.Stderr, "igzip is left out: it is not installed (Debian package isal)")
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\ninflate, 1 core\tsize\tours\tspeed ÷ klauspost\tspeed ÷ compress/gzip\tprocess: time ÷ igzip")
	var layers row
	for _, in := range inputs {
		r, err := measure(in, turns)
		if err == nil && in.path != "" && igzip != "" {
			err = measureProcess(&r, in.path, igzip, turns)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
		r.print(table)
		if in.path != "" {
			layers.add(r)
		}
	}
	if layers.size > 0 {
		layers.name = "all layers"
		layers.print(table)
		fmt.Fprintln(table, "goal for layers\t\t\t2.30\t3.00\t1.35")
	}
	return table.Flush()
}
