package files

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrs returns the extended attributes of a file as PAX records. Those that the system
// makes itself are left out.
func (d *Directory) xattrs(path string, _ fs.FileInfo) (map[string]string, error) {
	dir, err := d.root.OpenFile(inSystem(filepath.Dir(path)), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // It was only read.
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(inSystem(path)))
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(name, buf)
	if err == unix.ENOTSUP || err == unix.ENOENT || n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	value := make([]byte, 64<<10)
	for key := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(key, "system.") || key == "security.selinux" {
			continue
		}
		size, err := unix.Lgetxattr(name, key, value)
		if err != nil {
			return nil, err
		}
		found[xattrPrefix+key] = string(value[:size])
	}
	return found, nil
}
