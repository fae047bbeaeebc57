package output

import (
	"context"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// inherited returns a copy of standard output if path is a customary name of it:
// closing os.Stdout itself would close it for the whole process. No other paths
// name open files here.
func inherited(path string) (*os.File, error) {
	if path != "-" && path != "/dev/stdout" {
		return nil, nil
	}
	self := windows.CurrentProcess()
	var copied windows.Handle
	err := windows.DuplicateHandle(self, windows.Handle(os.Stdout.Fd()), self, &copied, 0, false, windows.DUPLICATE_SAME_ACCESS)
	if err != nil {
		return nil, os.NewSyscallError("DuplicateHandle", err)
	}
	return os.NewFile(uintptr(copied), path), nil
}

// openFIFO opens a named pipe, which on Windows exists only while it is served.
func openFIFO(ctx context.Context, path string) (*os.File, error) { return openDevice(ctx, path) }

func replaceable(string) bool { return true }

func isReadOnly(error) bool { return false }

func dress(*os.File, fs.FileInfo) error { return nil }
