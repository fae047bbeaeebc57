package local

// Change is something that was done to a file.
type Change struct {
	Off  int64
	Data []byte // written at Off; nil for the others
	Size int64  // the file was truncated to, -1 for the others
	Sync bool   // all changes before are on the disk
}

// Observe has f called, one at a time or concurrently as the File is used, after every
// change of the file, except for copies made by the kernel. It is for tests of the
// file's state after the machine fails. Call it before anything else.
func (f *File) Observe(observe func(Change)) { f.observe = observe }

func (f *File) tell(c Change, err error) {
	if f.observe != nil && err == nil {
		f.observe(c)
	}
}
