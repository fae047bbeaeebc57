package serving

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// understandRange keeps those parts of a request's Range header that net/http understands of
// RFC 9110. The header is ignored if the method is not GET or the unit is not bytes, which may
// be written in any case. A range that is not valid, and the last 0 bytes, cannot be
// satisfied.
func understandRange(r *http.Request, size int64) {
	asked := r.Header.Values("Range")
	if len(asked) == 0 {
		return
	}
	unit, set, ok := strings.Cut(strings.TrimSpace(strings.Join(asked, ",")), "=")
	if r.Method != http.MethodGet || !ok || !strings.EqualFold(unit, "bytes") {
		r.Header.Del("Range")
		return
	}
	ranges := byteRanges(set, size)
	if len(ranges) == 0 {
		ranges = []string{fmt.Sprintf("%d-", size)}
	}
	r.Header.Set("Range", "bytes="+strings.Join(ranges, ","))
}

// byteRanges returns the ranges of a set that can be satisfied, none if one is not valid.
func byteRanges(set string, size int64) (ranges []string) {
	for _, spec := range strings.Split(set, ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue // A list may have empty elements.
		}
		first, last, ok := strings.Cut(spec, "-")
		if !ok || first == "" && last == "" || !isNumber(first) || !isNumber(last) {
			return nil
		}
		from, to := number(first, 0), number(last, math.MaxInt64)
		switch {
		case first == "" && to > 0:
			ranges = append(ranges, fmt.Sprintf("-%d", min(to, size)))
		case first == "": // The last 0 bytes.
		case to < from:
			return nil
		case from < size:
			ranges = append(ranges, fmt.Sprintf("%d-%d", from, min(to, size-1)))
		}
	}
	return ranges
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// number parses a number of bytes. It returns the largest possible one if s is larger, and
// absent if s is empty.
func number(s string, absent int64) int64 {
	if s == "" {
		return absent
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64 // They are digits only.
	}
	return n
}
