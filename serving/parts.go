package serving

import (
	"fmt"
	"os"
	"strings"
)

// firstPart is how the name of the first file of an archive in parts ends.
const firstPart = ".000"

// otherPart reports whether a file in a directory is a part that is read with the first.
func otherPart(path string) bool {
	dot := len(path) - len(firstPart)
	if dot < 0 || path[dot] != '.' || strings.Trim(path[dot+1:], "0123456789") != "" || path[dot:] == firstPart {
		return false
	}
	_, err := os.Stat(path[:dot] + firstPart)
	return err == nil
}

// partsStamp describes the files that follow the first part of an archive, up to a
// missing one, so that its arrival is noticed.
func partsStamp(path string) string {
	archive, ok := strings.CutSuffix(path, firstPart)
	if !ok {
		return ""
	}
	var b strings.Builder
	for number := 1; number < 1000; number++ {
		info, err := os.Stat(fmt.Sprintf("%s.%03d", archive, number))
		if err != nil {
			break
		}
		fmt.Fprintln(&b, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}
