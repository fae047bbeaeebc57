// Command sizes builds the programs in its folders, each of which does with one package
// what little a small program would, and prints how large they get. It fails if one is
// larger than it may be: what a package links is part of what it costs its users.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const megabyte = 1_000_000

// programs are the folders beside this file.
var programs = []struct {
	dir   string
	limit float64 // megabytes; 0: none
}{
	{"front", 6},
	{"archive", 4},
	{"reading", 0},
}

func main() {
	tags := flag.String("tags", "", "build `tags`")
	flag.Parse()
	if err := run(*tags); err != nil {
		fmt.Fprintf(os.Stderr, "sizes: %v\n", err)
		os.Exit(1)
	}
}

func run(tags string) error {
	dir, err := os.MkdirTemp("", "sizes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var large []string
	for _, p := range programs {
		size, packages, err := measure(filepath.Join(dir, p.dir), "./internal/sizes/"+p.dir, tags)
		if err != nil {
			return fmt.Errorf("%s: %w", p.dir, err)
		}
		fmt.Printf("%-10s %5.1f MB, %3d packages", p.dir, size, packages)
		if p.limit > 0 {
			fmt.Printf(", of at most %.1f MB", p.limit)
		}
		fmt.Println()
		if p.limit > 0 && size > p.limit {
			large = append(large, p.dir)
		}
	}
	if len(large) > 0 {
		return fmt.Errorf("too large: %s", strings.Join(large, ", "))
	}
	return nil
}

// measure builds a program into a file and returns its size in megabytes, and the number
// of packages that are in it.
func measure(file, program, tags string) (size float64, packages int, err error) {
	if _, err := goCommand("build", "-tags", tags, "-trimpath", "-ldflags", "-s -w", "-o", file, program); err != nil {
		return 0, 0, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return 0, 0, err
	}
	list, err := goCommand("list", "-tags", tags, "-deps", program)
	return float64(info.Size()) / megabyte, strings.Count(list, "\n"), err
}

// goCommand runs the go command and returns what it prints. The programs are always for
// the same machine, so that their sizes can be compared.
func goCommand(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return string(output), nil
}
