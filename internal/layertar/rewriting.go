package layertar

import (
	"archive/tar"
	"fmt"
	"maps"
	"strings"
	"time"
)

// XattrPrefix begins the PAX records that hold extended attributes.
const XattrPrefix = "SCHILY.xattr."

// libarchiveXattr begins the records that bsdtar writes beside them.
const libarchiveXattr = "LIBARCHIVE.xattr."

// Rewriting changes the header of every entry. The zero Rewriting only clears the
// names of users and groups, which mean nothing on another machine. It may be used
// concurrently if its functions may.
type Rewriting struct {
	// SetTime, unless it is zero, replaces the times of all entries. A time that an
	// entry does not have is not added. Fractions of a second are cut off.
	SetTime time.Time
	// MaxTime, unless it is zero, replaces all later times. Fractions of a second are
	// cut off.
	MaxTime time.Time
	// Owner, unless nil, returns the owner for an owner.
	Owner func(uid, gid int) (newUID, newGID int, err error)
	// Mode, unless nil, returns the mode for an entry: permissions, setuid (04000),
	// setgid (02000), sticky (01000). It is not asked about symbolic links.
	Mode func(h *tar.Header) int64
	// StripSetID takes setuid and setgid away.
	StripSetID bool
	// StripXattrs takes extended attributes away.
	StripXattrs bool
}

// KeepsTimes reports whether no time of an entry is changed.
func (r *Rewriting) KeepsTimes() bool { return r.SetTime.IsZero() && r.MaxTime.IsZero() }

// Apply rewrites a header. The map of its PAX records is not changed but replaced.
// Its error is that of Owner, with the entry's name.
func (r *Rewriting) Apply(h *tar.Header) error {
	h.Uname, h.Gname = "", ""
	for _, t := range []*time.Time{&h.ModTime, &h.AccessTime, &h.ChangeTime} {
		*t = r.time(*t)
	}
	if r.Owner != nil {
		uid, gid, err := r.Owner(h.Uid, h.Gid)
		if err != nil {
			return fmt.Errorf("owner of %s: %w", h.Name, err)
		}
		h.Uid, h.Gid = uid, gid
	}
	if r.Mode != nil && h.Typeflag != tar.TypeSymlink {
		h.Mode = r.Mode(h)
	}
	if r.StripSetID {
		h.Mode &^= 0o6000
	}
	if r.StripXattrs {
		*h = recorded(h)
		h.PAXRecords = without(h.PAXRecords, isXattr)
	}
	return nil
}

// time rewrites one time of a header. One that is zero is not there: were it set,
// the header would need another form.
func (r *Rewriting) time(t time.Time) time.Time {
	switch {
	case t.IsZero():
		return t
	case !r.SetTime.IsZero():
		return r.SetTime.Truncate(time.Second)
	case !r.MaxTime.IsZero() && t.After(r.MaxTime.Truncate(time.Second)):
		return r.MaxTime.Truncate(time.Second)
	}
	return t
}

// isXattr reports whether a PAX record is an extended attribute.
func isXattr(key string) bool {
	return strings.HasPrefix(key, XattrPrefix) || strings.HasPrefix(key, libarchiveXattr)
}

// without returns the records except those that drop selects.
func without(records map[string]string, drop func(key string) bool) map[string]string {
	for key := range records {
		if drop(key) {
			kept := maps.Clone(records)
			maps.DeleteFunc(kept, func(key, _ string) bool { return drop(key) })
			return kept
		}
	}
	return records
}

// recorded returns a header that has extended attributes only as PAX records.
// archive/tar reads them into a field of their own too, which is deprecated, and writes
// both.
func recorded(h *tar.Header) tar.Header {
	return tar.Header{
		Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode,
		Uid: h.Uid, Gid: h.Gid, Uname: h.Uname, Gname: h.Gname,
		ModTime: h.ModTime, AccessTime: h.AccessTime, ChangeTime: h.ChangeTime,
		Devmajor: h.Devmajor, Devminor: h.Devminor, PAXRecords: h.PAXRecords, Format: h.Format,
	}
}
