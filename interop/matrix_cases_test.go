//go:build interop

package interop

import (
	"archive/tar"
	"strings"
	"time"
)

// A treeCase is a directory of an image, its entries in each layer, and its content in the
// end.
type treeCase struct {
	name   string // of the directory
	layers []layer
	// want has a word for each file below the directory, sorted: "d/" is a directory, "l->t" a
	// symbolic link, "f=x" a file with the content x, "p|" anything else. Links share content.
	want string
	// refused says why some client takes no image with the case; these are in images of their own.
	refused string
}

const (
	across     = "hard links to a lower layer"
	twiceGone  = "a whiteout twice in a layer"
	duplicates = "a path twice in a layer"
	belowFile  = "files below a file"
	afterFile  = "a whiteout after a file of its name"
	oddType    = "a file of an unusual type"
	afterDir   = "a whiteout after a directory of its name"
)

// An entry is one of a layer's tar. An @ in its names stands for the case's directory.
type entry struct {
	tar.Header
	content string
}

// A layer is the entries of a case in one layer of the image.
type layer = []entry

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}
func folder(name string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}}
}
func hard(name, target string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}}
}
func symlink(name, target string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}
func special(name string, kind byte, major, minor int64) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o640, Devmajor: major, Devminor: minor}}
}
func whiteout(name string) entry {
	at := strings.LastIndex(name, "/") + 1
	return file(name[:at]+".wh."+name[at:], "")
}
func opaque(dir string) entry { return file(dir+"/.wh..wh..opq", "") }

func (e entry) mode(mode int64) entry    { e.Mode = mode; return e }
func (e entry) owner(uid, gid int) entry { e.Uid, e.Gid = uid, gid; return e }
func (e entry) time(t time.Time) entry   { e.ModTime = t; return e }
func (e entry) attr(name, value string) entry {
	e.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
	return e
}

var (
	long = strings.Repeat("n", 200)
	// cap_net_raw+ep, as the kernel stores it.
	capability = "\x01\x00\x00\x02\x00\x20\x00\x00" + strings.Repeat("\x00", 12)
)

var treeCases = []treeCase{
	// Removals.
	{"whiteout-file", []layer{{file("@/a", "1"), file("@/b", "2")}, {whiteout("@/a")}}, "b=2", ""},
	{"whiteout-dir", []layer{{folder("@/d"), file("@/d/a", "1"), file("@/b", "2")}, {whiteout("@/d")}}, "b=2", ""},
	{"whiteout-link", []layer{{file("@/a", "1"), symlink("@/l", "a")}, {whiteout("@/l")}}, "a=1", ""},
	{"whiteout-of-nothing", []layer{{file("@/a", "1")}, {whiteout("@/b")}}, "a=1", ""},
	{"whiteout-in-lowest", []layer{{whiteout("@/a"), file("@/b", "1")}}, "b=1", ""},
	{"whiteout-in-no-dir", []layer{{file("@/a", "1")}, {whiteout("@/no/b")}}, "a=1 no/", ""},
	{"whiteout-before-file", []layer{{file("@/a", "1")}, {whiteout("@/a"), file("@/a", "2")}}, "a=2", ""},
	{"whiteout-after-file", []layer{{file("@/a", "1")}, {file("@/a", "2"), whiteout("@/a")}}, "a=2", afterFile},
	{"whiteout-before-dir", []layer{{folder("@/d"), file("@/d/a", "1")}, {whiteout("@/d"), folder("@/d"), file("@/d/b", "2")}}, "d/ d/a=1 d/b=2", ""},
	{"whiteout-after-dir", []layer{{folder("@/d"), file("@/d/a", "1")}, {folder("@/d"), file("@/d/b", "2"), whiteout("@/d")}}, "d/ d/b=2", afterDir},
	{"whiteout-of-own-file", []layer{{file("@/x", "1")}, {file("@/a", "2"), whiteout("@/a")}}, "a=2 x=1", afterFile},
	{"whiteout-twice", []layer{{file("@/a", "1")}, {whiteout("@/a"), whiteout("@/a")}}, "", twiceGone},
	{"whiteout-then-back", []layer{{file("@/a", "1")}, {whiteout("@/a")}, {file("@/a", "3")}}, "a=3", ""},
	{"whiteout-dir-then-back", []layer{{folder("@/d"), file("@/d/a", "1")}, {whiteout("@/d")}, {folder("@/d"), file("@/d/b", "3")}}, "d/ d/b=3", ""},
	{"whiteout-dir-then-implied", []layer{{folder("@/d").mode(0o700), file("@/d/a", "1")}, {whiteout("@/d")}, {file("@/d/b", "3")}}, "d/ d/b=3", ""},
	{"whiteout-through-link", []layer{{folder("@/t"), file("@/t/keep", "1"), symlink("@/l", "t")}, {whiteout("@/l/keep")}}, "l/ t/ t/keep=1", ""},
	{"whiteout-below-file", []layer{{file("@/a", "1")}, {whiteout("@/a/b")}}, "a/", belowFile},
	{"whiteout-odd-name", []layer{{file("@/a b\n\xff", "1"), file("@/-x", "2")}, {whiteout("@/a b\n\xff"), whiteout("@/-x")}}, "", ""},
	{"opaque-before", []layer{{folder("@/d"), file("@/d/a", "1")}, {folder("@/d"), opaque("@/d"), file("@/d/b", "2")}}, "d/ d/b=2", ""},
	{"opaque-after", []layer{{folder("@/d"), file("@/d/a", "1")}, {folder("@/d"), file("@/d/b", "2"), opaque("@/d")}}, "d/ d/b=2", ""},
	{"opaque-same-name", []layer{{folder("@/d"), file("@/d/a", "1")}, {folder("@/d"), file("@/d/a", "2"), opaque("@/d")}}, "d/ d/a=2", ""},
	{"opaque-explicit", []layer{{folder("@/d"), file("@/d/a", "1"), file("@/d/c", "1")}, {folder("@/d"), whiteout("@/d/a"), whiteout("@/d/c"), file("@/d/b", "2")}}, "d/ d/b=2", ""},
	{"opaque-nested", []layer{{folder("@/d"), folder("@/d/e"), file("@/d/e/a", "1")}, {folder("@/d"), opaque("@/d"), folder("@/d/e"), file("@/d/e/b", "2")}}, "d/ d/e/ d/e/b=2", ""},
	{"opaque-implied", []layer{{folder("@/d"), file("@/d/a", "1")}, {opaque("@/d"), file("@/d/b", "2")}}, "d/ d/b=2", ""},
	{"opaque-lowest", []layer{{folder("@/d"), opaque("@/d"), file("@/d/a", "1")}, {file("@/d/b", "2")}}, "d/ d/a=1 d/b=2", ""},
	{"opaque-over-file", []layer{{file("@/d", "1")}, {folder("@/d"), opaque("@/d")}}, "d/", ""},
	{"opaque-over-link", []layer{{folder("@/t"), file("@/t/a", "1"), symlink("@/d", "t")}, {folder("@/d"), opaque("@/d"), file("@/d/b", "2")}}, "d/ d/b=2 t/ t/a=1", ""},
	{"opaque-twice", []layer{{folder("@/d"), file("@/d/a", "1")}, {folder("@/d"), opaque("@/d"), file("@/d/b", "2")}, {folder("@/d"), opaque("@/d"), file("@/d/c", "3")}}, "d/ d/c=3", ""},
	{"whiteout-nested", []layer{{folder("@/d"), folder("@/d/e"), file("@/d/e/f", "1"), file("@/d/e/g", "2")}, {whiteout("@/d/e/f")}}, "d/ d/e/ d/e/g=2", ""},
	{"whiteout-with-content", []layer{{file("@/a", "1")}, {file("@/.wh.a", "text")}}, "", ""},
	{"whiteout-as-dir", []layer{{file("@/a", "1")}, {folder("@/.wh.a")}}, "", ""},
	{"whiteout-long-name", []layer{{file("@/"+strings.Repeat("w", 251), "1")}, {whiteout("@/" + strings.Repeat("w", 251))}}, "", ""},
	{"whiteout-by-device", []layer{{file("@/a", "1")}, {special("@/a", tar.TypeChar, 0, 0)}}, "", ""},
	{"opaque-through-link", []layer{{folder("@/t"), file("@/t/keep", "1"), symlink("@/l", "t")}, {opaque("@/l")}}, "l/ t/ t/keep=1", ""},
	{"opaque-by-xattr", []layer{{folder("@/d"), file("@/d/a", "1")}, {folder("@/d").attr("trusted.overlay.opaque", "y"), file("@/d/b", "2")}}, "d/ d/a=1 d/b=2", ""},
	{"aufs-remains", []layer{{folder("@/.wh..wh.plnk"), file("@/.wh..wh.plnk/1.2", "x"), file("@/.wh..wh.aufs", ""), file("@/a", "1")}}, "a=1", ""},

	// Links.
	{"hard-in-layer", []layer{{file("@/a", "1"), hard("@/b", "@/a"), hard("@/c", "@/b")}}, "a=1 b=1 c=1", ""},
	{"hard-absolute", []layer{{file("@/a", "1"), hard("@/b", "/@/a")}}, "a=1 b=1", ""},
	{"hard-dotted", []layer{{file("./@/a", "1"), hard("./@/b", "./@/a")}}, "a=1 b=1", ""},
	{"hard-own-mode", []layer{{file("@/a", "1").mode(0o640).owner(1, 2), hard("@/b", "@/a").mode(0o640).owner(1, 2)}}, "a=1 b=1", ""},
	{"hard-other-mode", []layer{{file("@/a", "1").mode(0o640), hard("@/b", "@/a").mode(0o600).owner(3, 4)}}, "a=1 b=1", ""},
	{"hard-target-replaced", []layer{{file("@/a", "1"), hard("@/b", "@/a")}, {file("@/a", "2")}}, "a=2 b=1", ""},
	{"hard-target-removed", []layer{{file("@/a", "1"), hard("@/b", "@/a"), hard("@/c", "@/a")}, {whiteout("@/a")}}, "b=1 c=1", ""},
	{"hard-replaced-in-layer", []layer{{file("@/a", "1"), hard("@/b", "@/a"), file("@/a", "2")}}, "a=2 b=1", duplicates},
	{"hard-over-file", []layer{{file("@/a", "1"), file("@/b", "2")}, {file("@/c", "3"), hard("@/b", "@/c")}}, "a=1 b=3 c=3", ""},
	{"hard-over-link", []layer{{file("@/a", "1"), symlink("@/b", "a")}, {file("@/c", "3"), hard("@/b", "@/c")}}, "a=1 b=3 c=3", ""},
	{"hard-to-symlink", []layer{{symlink("@/l", "nowhere"), hard("@/m", "@/l").mode(0o777)}}, "l->nowhere m->nowhere", ""},
	{"hard-to-fifo", []layer{{special("@/p", tar.TypeFifo, 0, 0), hard("@/q", "@/p").mode(0o640)}}, "p| q|", ""},
	{"hard-both-again", []layer{{file("@/a", "1"), hard("@/b", "@/a")}, {file("@/a", "2"), hard("@/b", "@/a")}}, "a=2 b=2", ""},
	{"hard-through-link", []layer{{folder("@/t"), file("@/t/a", "1"), symlink("@/l", "t"), hard("@/b", "@/l/a")}}, "b=1 l->t t/ t/a=1", ""},
	{"hard-across", []layer{{file("@/a", "1")}, {hard("@/b", "@/a")}}, "a=1 b=1", across},
	{"hard-across-over", []layer{{file("@/a", "1"), file("@/b", "2")}, {hard("@/b", "@/a")}}, "a=1 b=1", across},
	{"hard-across-two", []layer{{file("@/a", "1")}, {file("@/c", "2")}, {hard("@/b", "@/a"), hard("@/d", "@/c")}}, "a=1 b=1 c=2 d=2", across},
	{"hard-over-dir", []layer{{file("@/a", "1"), folder("@/b"), file("@/b/x", "2")}, {file("@/a", "3"), hard("@/b", "@/a")}}, "a=3 b=3", ""},
	{"link-chain", []layer{{folder("@/t"), symlink("@/m", "t"), symlink("@/l", "m"), file("@/l/a", "1")}}, "l->m m->t t/ t/a=1", ""},
	{"link-to-itself", []layer{{folder("@/d"), symlink("@/d/self", "."), file("@/d/self/self/a", "1")}}, "d/ d/a=1 d/self->.", ""},
	{"link-dangling", []layer{{symlink("@/l", "no/where"), symlink("@/up", "../../../../etc"), symlink("@/abs", "/etc/x")}}, "abs->/etc/x l->no/where up->../../../../etc", ""},
	{"link-loop", []layer{{symlink("@/l", "m"), symlink("@/m", "l")}}, "l->m m->l", ""},
	{"link-to-dir", []layer{{folder("@/d"), file("@/d/a", "1"), symlink("@/d2", "d")}, {whiteout("@/d2"), folder("@/d2"), file("@/d2/b", "2")}}, "d/ d/a=1 d2/ d2/b=2", ""},
	{"link-under-dir", []layer{{folder("@/t"), file("@/t/a", "1"), symlink("@/l", "t")}, {folder("@/l"), file("@/l/b", "2")}}, "l/ l/b=2 t/ t/a=1", ""},
	{"link-over-dir", []layer{{folder("@/t"), file("@/t/a", "1"), folder("@/d"), file("@/d/b", "2")}, {symlink("@/d", "t")}}, "d->t t/ t/a=1", ""},
	{"link-over-link", []layer{{folder("@/t"), symlink("@/l", "t")}, {symlink("@/l", "elsewhere")}}, "l->elsewhere t/", ""},
	{"link-over-file", []layer{{file("@/a", "1")}, {symlink("@/a", "b")}}, "a->b", ""},
	{"file-over-link", []layer{{file("@/t", "1"), symlink("@/l", "t")}, {file("@/l", "2")}}, "l=2 t=1", ""},
	{"link-long", []layer{{symlink("@/l", strings.Repeat("long/", 60))}}, "l->" + strings.Repeat("long/", 60), ""},
	{"below-link-same-layer", []layer{{folder("@/t"), symlink("@/l", "t"), file("@/l/a", "1")}}, "l->t t/ t/a=1", ""},
	{"below-link-above", []layer{{folder("@/t"), file("@/t/a", "1"), symlink("@/l", "t")}, {file("@/l/b", "2")}}, "l/ l/b=2 t/ t/a=1", ""},
	{"below-absolute-link", []layer{{folder("@/t"), symlink("@/l", "/@/t"), file("@/l/a", "1")}}, "l->/below-absolute-link/t t/ t/a=1", ""},
	{"below-file", []layer{{file("@/a", "1")}, {file("@/a/b", "2")}}, "a/ a/b=2", belowFile},

	// Kinds upon kinds.
	{"file-over-dir", []layer{{folder("@/d"), file("@/d/a", "1")}, {file("@/d", "2")}}, "d=2", ""},
	{"dir-over-file", []layer{{file("@/d", "1")}, {folder("@/d"), file("@/d/a", "2")}}, "d/ d/a=2", ""},
	{"dir-over-dir", []layer{{folder("@/d").mode(0o755), file("@/d/a", "1")}, {folder("@/d").mode(0o711).owner(7, 8)}}, "d/ d/a=1", ""},
	{"dir-file-dir", []layer{{folder("@/d"), file("@/d/a", "1")}, {file("@/d", "2")}, {folder("@/d"), file("@/d/b", "3")}}, "d/ d/b=3", ""},
	{"device-over-file", []layer{{file("@/a", "1")}, {special("@/a", tar.TypeChar, 1, 5)}}, "a|", ""},
	{"file-over-device", []layer{{special("@/a", tar.TypeChar, 1, 5)}, {file("@/a", "2")}}, "a=2", ""},
	{"file-contiguous", []layer{{special("@/a", tar.TypeCont, 0, 0)}}, "a=", oddType},
	{"file-grows", []layer{{file("@/a", "1")}, {file("@/a", "22").mode(0o600)}, {file("@/a", "").mode(0o604)}}, "a=", ""},

	// Twice in a layer.
	{"twice-file", []layer{{file("@/a", "1"), file("@/a", "2").mode(0o600)}}, "a=2", duplicates},
	{"twice-spelled", []layer{{file("@/a", "1"), file("./@//a", "2")}}, "a=2", duplicates},
	{"twice-dir", []layer{{folder("@/d"), file("@/d/a", "1"), folder("@/d").mode(0o700)}}, "d/ d/a=1", duplicates},
	{"twice-file-dir", []layer{{file("@/d", "1"), folder("@/d"), file("@/d/a", "2")}}, "d/ d/a=2", duplicates},
	{"twice-link-file", []layer{{file("@/t", "1"), symlink("@/a", "t"), file("@/a", "2")}}, "a=2 t=1", duplicates},

	// Names.
	{"name-absolute", []layer{{file("/@/a", "1")}, {whiteout("/@/b"), file("/@/c", "2")}}, "a=1 c=2", ""},
	{"name-dotted", []layer{{folder("./@/d"), file("./@/./d/../a", "1"), file("./@/d/b", "2")}, {whiteout("./@/d/b")}}, "a=1 d/", ""},
	{"name-bytes", []layer{{file("@/a\xff\xfe", "1"), file("@/ü", "2"), file("@/u\u0308", "3")}}, "a\xff\xfe=1 u\u0308=3 ü=2", ""},
	{"name-odd", []layer{{file("@/-rf", "1"), file("@/ x ", "2"), file("@/a\nb\t", "3"), file("@/*?[\\", "4"), file("@/...", "5")}}, " x =2 *?[\\=4 -rf=1 ...=5 a\nb\t=3", ""},
	{"name-long", []layer{{folder("@/" + long), file("@/"+long+"/"+strings.Repeat("m", 255), "1")}}, long + "/ " + long + "/" + strings.Repeat("m", 255) + "=1", ""},
	{"name-deep", []layer{{file("@/"+strings.Repeat("d/", 50)+"f", "1")}}, deep(50), ""},
	{"name-wh", []layer{{file("@/a.wh.b", "1"), file("@/wh", "2"), file("@/.whx", "3")}}, ".whx=3 a.wh.b=1 wh=2", ""},

	// All other attributes of a file.
	{"dir-implied", []layer{{file("@/d/e/a", "1")}}, "d/ d/e/ d/e/a=1", ""},
	{"dir-implied-above", []layer{{folder("@/d").mode(0o1777).owner(5, 6), file("@/d/a", "1")}, {file("@/d/b", "2")}}, "d/ d/a=1 d/b=2", ""},
	{"dir-after-content", []layer{{file("@/d/a", "1"), folder("@/d").mode(0o750).owner(5, 6)}}, "d/ d/a=1", ""},
	{"dir-empty", []layer{{folder("@/d").mode(0o710)}, {folder("@/e")}}, "d/ e/", ""},
	{"modes", []layer{{file("@/u", "").mode(0o4755), file("@/g", "").mode(0o2755), file("@/0", "x").mode(0), folder("@/s").mode(0o1777), folder("@/sg").mode(0o2775), folder("@/n").mode(0)}}, "0=x g= n/ s/ sg/ u=", ""},
	{"modes-with-kind", []layer{{file("@/a", "1").mode(0o100644), folder("@/d").mode(0o40700)}}, "a=1 d/", ""},
	{"setuid-owner", []layer{{file("@/a", "1").mode(0o6711).owner(1000, 1000)}}, "a=1", ""},
	{"owners", []layer{{file("@/a", "").owner(65536, 70000), file("@/b", "").owner(2097152, 1), file("@/c", "").owner(4294967294, 4294967294), symlink("@/l", "a").owner(3, 4), folder("@/d").owner(100000, 100000)}}, "a= b= c= d/ l->a", ""},
	{"devices", []layer{{special("@/c", tar.TypeChar, 1, 3).mode(0o666), special("@/b", tar.TypeBlock, 8, 1), special("@/big", tar.TypeChar, 300, 70000)}}, "big| b| c|", ""},
	{"fifo", []layer{{special("@/p", tar.TypeFifo, 0, 0).mode(0o622).owner(9, 9)}}, "p|", ""},
	{"xattr-user", []layer{{file("@/a", "1").attr("user.x", "y\x00\xff"), folder("@/d").attr("user.d", "z"), file("@/e", "").attr("user.empty", "")}}, "a=1 d/ e=", ""},
	{"xattr-replaced", []layer{{file("@/a", "1").attr("user.x", "y")}, {file("@/a", "2")}}, "a=2", ""},
	{"xattr-dir-gone", []layer{{folder("@/d").attr("user.d", "z")}, {folder("@/d")}}, "d/", ""},
	{"capability", []layer{{file("@/a", "1").mode(0o755).attr("security.capability", capability)}}, "a=1", ""},
	{"capability-owner", []layer{{file("@/a", "1").mode(0o755).owner(7, 7).attr("security.capability", capability)}}, "a=1", ""},
	{"time-fraction", []layer{{file("@/a", "1").time(time.Unix(1e9, 123456789)), symlink("@/l", "a").time(time.Unix(1e9, 5e8))}}, "a=1 l->a", ""},
	{"time-1960", []layer{{file("@/a", "1").time(time.Unix(-3e8, 0))}}, "a=1", ""},
	{"time-zero", []layer{{file("@/a", "1").time(time.Unix(0, 0))}}, "a=1", ""},
	{"time-2100", []layer{{file("@/a", "1").time(time.Unix(4102444800, 0))}}, "a=1", ""},
	{"time-2400", []layer{{file("@/a", "1").time(time.Unix(13569465600, 0))}}, "a=1", ""},
}

// deep is the tree of a file f in n nested directories d.
func deep(n int) string {
	var words []string
	for i := 1; i <= n; i++ {
		words = append(words, strings.Repeat("d/", i))
	}
	return strings.Join(append(words, strings.Repeat("d/", n)+"f=1"), " ")
}
