//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	stdgzip "compress/gzip"

	"github.com/klauspost/pgzip"

	"github.com/dockerarchive/dockerarchive/delta"
)

// "bench deltas DIR [PAIR...]" makes pairs of layers in DIR, an old and a new one, if they
// are not there, and prints how large the difference is, ours and that of others. It needs
// debootstrap and root for the first pair, npm for the second, Debian for the fourth, and bsdiff
// and zstd; a pair that cannot be made is left out. tar-diff is built as it was released; its
// result has the text of the layer, not the layer.
func init() {
	helpers["deltas"] = compareDeltas
	helpers["delta-make"] = makeDelta
	helpers["delta-apply"] = applyDelta
	helpers["compress"] = compressFile
}

// layerPair is a pair: its name, the lines of shell that make the directories 1 and 2, and how
// large a delta may be in percent of the layer, with a model of the encoder and without; 0: there
// is no goal.
type layerPair struct {
	name, lines         string
	modelled, oldTokens float64
}

var layerPairs = []layerPair{
	{"deb", `debootstrap --variant=minbase bookworm 1
		cp -a 1 2
		cp /etc/resolv.conf 2/etc/
		for s in bookworm-updates bookworm-security; do
			echo "deb http://deb.debian.org/debian${s#bookworm-updates} $s main"
		done | sed 's/debianbookworm/debian/' >>2/etc/apt/sources.list
		chroot 2 apt-get update
		chroot 2 apt-get -y upgrade
		rm -rf [12]/var/cache/apt/* [12]/var/lib/apt/lists/*`, 2.7, 3.1},
	{"npm", `mkdir 1 2
		npm="npm install --ignore-scripts --no-audit --no-fund"
		same="lodash@4.17.21 typescript@5.4.5 rxjs@7.8.1"
		(cd 1; echo '{"name":"a"}' >package.json; $npm $same express@4.19.2 axios@1.6.8 react-dom@18.2.0)
		(cd 2; echo '{"name":"a"}' >package.json; $npm $same express@4.21.2 axios@1.7.9 react-dom@18.3.1)`, 1.6, 3.8},
	{"go", `mkdir 1 2
		export CGO_ENABLED=0 GOFLAGS=-trimpath
		GOBIN=$PWD/1 go install -ldflags '-s -w' github.com/google/go-containerregistry/cmd/crane@v0.20.2
		GOBIN=$PWD/2 go install -ldflags '-s -w' github.com/google/go-containerregistry/cmd/crane@v0.20.6`, 19, 25},
	{"python", `mkdir 1 2
		for i in 1 2; do
			suite=bookworm; test $i = 1 || suite=bookworm-security
			(cd $i; for p in libpython3.11-stdlib libpython3.11-minimal python3.11; do apt-get download $p/$suite; done
			for d in *.deb; do dpkg-deb -x $d .; done; rm *.deb)
		done`, 0, 0},
}

// tarDiff builds tar-diff. The module proxy has its release, but not always a list of its
// releases.
const tarDiff = `mkdir -p tar-diff && cd tar-diff && { test -x tar-diff || {
	printf 'module tools\ngo 1.24\n' >go.mod && go mod edit -require github.com/containers/tar-diff@v0.1.2 &&
	GOFLAGS=-mod=mod CGO_ENABLED=0 go build -tags containers_image_openpgp -o . github.com/containers/tar-diff/cmd/tar-diff; }; }`

var layerEncoders = []struct{ name, line string }{
	{"Go (docker)", "bench compress go"},
	{"pgzip (podman)", "bench compress pgzip"},
	{"gzip -6", "gzip -n6"},
	{"igzip", "igzip -c"},
}

func compareDeltas(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("bench deltas DIR [PAIR...]")
	}
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	own, err := filepath.Abs("../bin")
	if err != nil {
		return err
	}
	path := filepath.Dir(self) + ":" + own + ":" + os.Getenv("PATH")
	r := &runner{data: dir}
	if _, _, err := r.line(ctx, tarDiff); err == nil {
		path = filepath.Join(dir, "tar-diff") + ":" + path
	} else {
		fmt.Fprintln(os.Stderr, "bench: without tar-diff:", err)
	}
	if err := os.Setenv("PATH", path); err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "layer\tencoder\twhole\tzstd --patch-from -19\tbsdiff\ttar-diff\tours\tof the whole\tgoal\tpredictor\tencoder\tmake\tapply\tMB/s of text\tpeak memory")
	sums := pairSums{}
	for _, p := range layerPairs {
		if len(args) > 1 && !slices.Contains(args[1:], p.name) {
			continue
		}
		r := &runner{data: filepath.Join(dir, p.name)}
		if err := r.comparePair(ctx, p, table, sums); err != nil {
			if ctx.Err() != nil {
				return errors.Join(context.Cause(ctx), table.Flush())
			}
			fmt.Fprintf(table, "%s\tfailed: %.200q\n", p.name, err)
		}
	}
	err = table.Flush()
	sums.print(os.Stdout)
	if len(args) == 1 || slices.Contains(args[1:], "image") {
		r := &runner{data: filepath.Join(dir, "image")}
		err = errors.Join(err, r.compareImage(ctx, filepath.Dir(dir)))
	}
	return err
}

// pairSums are sizes by pair, as docker compresses them.
type pairSums map[string]struct{ whole, ours, bsdiff float64 }

// print prints the goals that are of several pairs.
func (s pairSums) print(w io.Writer) {
	deb, npm, binary := s["deb"], s["npm"], s["go"]
	if deb.whole > 0 && npm.whole > 0 {
		fmt.Fprintf(w, "deb and npm: %.2f x bsdiff (goal: 1.15)\n", (deb.ours+npm.ours)/(deb.bsdiff+npm.bsdiff))
	}
	if binary.whole > 0 {
		fmt.Fprintf(w, "go: %.2f x bsdiff (goal: 1.80)\n", binary.ours/binary.bsdiff)
	}
	if deb.whole > 0 && npm.whole > 0 && binary.whole > 0 {
		fmt.Fprintf(w, "the three as one image: %.1f MB instead of %.1f MB (goal: 4.0 MB)\n", deb.ours+npm.ours+binary.ours, deb.whole+npm.whole+binary.whole)
	}
}

// line runs lines of shell in the directory of a pair, and measures them.
func (r *runner) line(ctx context.Context, lines string) (measurement, string, error) {
	cmd, said := r.shell(ctx, lines)
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return measurement{}, "", fmt.Errorf("%w: %s", err, said)
	}
	m := used(cmd)
	m.wall = time.Since(start)
	return m, strings.TrimSpace(said.String()), nil
}

// comparePair prints the rows of a pair.
func (r *runner) comparePair(ctx context.Context, p layerPair, table io.Writer, sums pairSums) error {
	if _, err := os.Stat(filepath.Join(r.data, "2.tar")); err != nil {
		if err := os.RemoveAll(r.data); err != nil { // Left by an earlier attempt.
			return err
		}
		if err := os.MkdirAll(r.data, 0o755); err != nil {
			return err
		}
		pack := "\nfor i in 1 2; do tar --sort=name --numeric-owner --mtime=@1700000000 --clamp-mtime -C $i -cf $i.new .; mv $i.new $i.tar; done"
		if _, _, err := r.line(ctx, p.lines+pack); err != nil {
			return err
		}
	}
	if _, _, err := r.line(ctx, "zstd -qf -19 --long=27 --patch-from=1.tar 2.tar -o 2.zst; bsdiff 1.tar 2.tar 2.bsdiff; if command -v tar-diff; then tar-diff 1.tar 2.tar 2.tardiff; fi"); err != nil {
		return err
	}
	for _, e := range layerEncoders {
		if _, err := exec.LookPath(strings.Fields(e.line)[0]); err != nil {
			fmt.Fprintf(table, "%s\t%s\tskipped: there is no %s\n", p.name, e.name, strings.Fields(e.line)[0])
			continue
		}
		if err := r.compareEncoder(ctx, p, e.name, e.line, table, sums); err != nil {
			return err
		}
	}
	return nil
}

// compareEncoder prints the row of a pair that is compressed by a line of shell.
func (r *runner) compareEncoder(ctx context.Context, p layerPair, encoder, line string, table io.Writer, sums pairSums) error {
	if _, _, err := r.line(ctx, line+" <1.tar >1.gz"); err != nil {
		return err
	}
	packing, _, err := r.line(ctx, "GOMAXPROCS=1 "+line+" <2.tar >2.gz")
	if err != nil {
		return err
	}
	making, predictor, err := r.line(ctx, "bench delta-make 1.gz 2.gz 2.delta")
	if err != nil {
		return err
	}
	applying, _, err := r.line(ctx, "GOMAXPROCS=1 bench delta-apply 1.gz 2.delta 2.out; cmp 2.gz 2.out")
	if err != nil {
		return err
	}
	size := func(file string) float64 {
		info, err := os.Stat(filepath.Join(r.data, file))
		if err != nil {
			return 0
		}
		return mb(info.Size())
	}
	whole, ours, goal := size("2.gz"), size("2.delta"), p.modelled
	if predictor == delta.OldTokens.String() {
		goal = p.oldTokens
	}
	if encoder == layerEncoders[0].name {
		sums[p.name] = struct{ whole, ours, bsdiff float64 }{whole, ours, size("2.bsdiff")}
	}
	fmt.Fprintf(table, "%s\t%s\t%.2f MB\t%s\t%s\t%s\t%.2f MB\t%.1f %%\t%s\t%s\t%.1f s\t%.1f s\t%.1f s\t%.0f\t%.0f / %.0f MB\n", p.name, encoder, whole,
		orNone(size("2.zst"), "%.2f MB"), orNone(size("2.bsdiff"), "%.2f MB"), orNone(size("2.tardiff"), "%.2f MB"), ours, 100*ours/whole, orNone(goal, "%.1f %%"), predictor,
		packing.cpu.Seconds(), making.cpu.Seconds(), applying.cpu.Seconds(), size("2.tar")/applying.cpu.Seconds(), mb(making.peak), mb(applying.peak))
	return nil
}

// orNone formats a value, or "-" if it is 0.
func orNone(v float64, format string) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

// blobFile opens a file as a blob.
func blobFile(name string) (*io.SectionReader, io.Closer, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return io.NewSectionReader(f, 0, info.Size()), f, nil
}

// makeDelta makes the delta OLD NEW OUT and prints its predictor.
func makeDelta(ctx context.Context, args []string) error {
	return withFiles(args, func(old, target *io.SectionReader, out io.Writer) error {
		h, err := delta.Make(ctx, out, target, []delta.Source{old}, nil)
		if err == nil {
			fmt.Println(h.Predictor)
		}
		return err
	})
}

// applyDelta applies OLD DELTA OUT.
func applyDelta(ctx context.Context, args []string) error {
	return withFiles(args, func(old, file *io.SectionReader, out io.Writer) error {
		d, err := delta.Open(file, file.Size())
		if err != nil {
			return err
		}
		return d.Apply(ctx, out, []delta.Source{old}, nil)
	})
}

func withFiles(args []string, work func(a, b *io.SectionReader, out io.Writer) error) error {
	a, closeA, err := blobFile(args[0])
	if err != nil {
		return err
	}
	defer closeA.Close()
	b, closeB, err := blobFile(args[1])
	if err != nil {
		return err
	}
	defer closeB.Close()
	out, err := os.Create(args[2])
	if err != nil {
		return err
	}
	return cmp.Or(work(a, b, out), out.Close())
}

// compressFile compresses standard input as docker (go) or podman (pgzip) do.
func compressFile(_ context.Context, args []string) error {
	var w io.WriteCloser
	if args[0] == "go" {
		w = stdgzip.NewWriter(os.Stdout)
	} else {
		w = pgzip.NewWriter(os.Stdout)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, os.Stdin, make([]byte, 32<<10)); err != nil {
		return err
	}
	return w.Close()
}
