package delta

// window is the end of a text: what has been added to it last.
type window struct {
	buf   []byte
	begin int64 // position in the text of buf[0]
	end   int64
}

// keptText is how much of a text a window has at least, before what is added.
const keptText = 512 << 10

// add appends to the text.
func (w *window) add(p []byte) {
	if len(w.buf)+len(p) > 2*keptText && len(w.buf) > keptText {
		n := copy(w.buf, w.buf[len(w.buf)-keptText:])
		w.begin += int64(len(w.buf) - n)
		w.buf = w.buf[:n]
	}
	w.buf = append(w.buf, p...)
	w.end += int64(len(p))
}

// slice returns n bytes of the text, or fewer if they are not there.
func (w *window) slice(pos int64, n int) []byte {
	i := pos - w.begin
	if i < 0 || i >= int64(len(w.buf)) {
		return nil
	}
	return w.buf[i:min(i+int64(n), int64(len(w.buf)))]
}
