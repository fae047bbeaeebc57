//go:build !linux

package tarfile

// kernelCopy copies nothing: there is no portable way to let the kernel do it.
func kernelCopy(File, int64, File, int64, int64) (int64, error) { return 0, nil }
