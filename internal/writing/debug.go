package writing

import (
	"github.com/sirupsen/logrus"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// debugf logs an event of the archive, as the transports of containers/image do.
func (a *Archive) debugf(format string, args ...any) {
	if logrus.IsLevelEnabled(logrus.DebugLevel) {
		logrus.Debugf("%s: "+format, append([]any{a.path}, args...)...)
	}
}

func (a *Archive) debugFiles(files tarfile.Smalls) {
	if !logrus.IsLevelEnabled(logrus.DebugLevel) {
		return
	}
	for f, err := range files.All() {
		if err != nil {
			return // They have been written.
		}
		if f.Header.Linkname != "" {
			a.debugf("linked %s to %s", f.Header.Name, f.Header.Linkname)
		} else {
			a.debugf("wrote %s, %d bytes", f.Header.Name, len(f.Data))
		}
	}
}
