package local

import (
	"sync/atomic"
)

// writeBackEvery is how many bytes are written before the system is asked to begin
// to write them to the disk. Less would be many calls; more would leave the disk
// idle while there is something to do, and have Sync wait for it.
const writeBackEvery = 8 << 20

// writeBack has a file's data written to the disk while more of it comes, so that
// little is left to do when it is synced.
type writeBack struct {
	pending atomic.Int64 // bytes written since the system was asked
	asking  atomic.Bool
}

// WriteBackEarly says that the file will be synced, so that the system should begin
// with it while it is written. Call it before anything else.
func (f *File) WriteBackEarly() { f.writeBack = &writeBack{} }

// wrote notes that n bytes have been written. The system is asked on another
// goroutine: the call waits when the disk is behind.
func (f *File) wrote(n int) {
	w := f.writeBack
	if w == nil || w.pending.Add(int64(n)) < writeBackEvery || !w.asking.CompareAndSwap(false, true) {
		return
	}
	w.pending.Store(0)
	go func() {
		defer w.asking.Store(false)
		startWriteBack(f.file)
	}()
}

// Sync returns when all data written is on the disk.
func (f *File) Sync() error {
	err := f.file.Sync()
	f.tell(Change{Size: -1, Sync: true}, err)
	return f.wrap("sync", err)
}
