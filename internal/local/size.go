package local

// Size returns the size of the file in bytes.
func (f *File) Size() (int64, error) {
	info, err := f.file.Stat()
	if err != nil {
		return 0, f.wrap("stat", err)
	}
	return info.Size(), nil
}

// before returns how many of n bytes from off on stand before the file's end.
func (f *File) before(off, n int64) int64 {
	size, err := f.Size()
	if err != nil {
		return 0
	}
	return max(min(size-off, n), 0)
}
