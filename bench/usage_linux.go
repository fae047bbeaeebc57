package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// readUsage returns what this process has used. Its peak is not taken from
// getrusage, which counts that of the process that started it, too.
func readUsage() (usage, error) {
	var u usage
	kib, err := procField("/proc/self/status", "VmHWM:")
	if err != nil {
		return u, err
	}
	u.Peak = kib << 10
	u.Written, err = procField("/proc/self/io", "write_bytes:")
	return u, err
}

func procField(path, name string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			var n int64
			if _, err := fmt.Sscan(value, &n); err != nil {
				return 0, fmt.Errorf("parsing %s of %s: %w", name, path, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}

// settle waits until the file system of a directory has nothing left to write,
// so that no run pays for what was written before it.
func settle(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
