package spool

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

func systemDir() string { return os.TempDir() }

// createUnnamed makes a file that Windows deletes when its handle is closed.
func createUnnamed(dir string) (*os.File, error) {
	name, err := os.CreateTemp(dir, ".dockerarchive-*")
	if err != nil {
		return nil, err
	}
	path := name.Name()
	if err := name.Close(); err != nil {
		return nil, err
	}
	p, err := windows.UTF16PtrFromString(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(p, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil,
		windows.CREATE_ALWAYS, windows.FILE_ATTRIBUTE_TEMPORARY|windows.FILE_FLAG_DELETE_ON_CLOSE, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}
