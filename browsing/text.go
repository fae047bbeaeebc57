package browsing

import (
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// text is text of others, without characters that move or hide the text around it.
func text(s string) string { return printable.String(s) }

// short is a digest as docker shortens it.
func short(d digest.Digest) string {
	algorithm, hex, _ := strings.Cut(string(d), ":")
	return algorithm + ":" + hex[:min(len(hex), 12)]
}

// humanSize is a size with three digits and a decimal unit.
func humanSize(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, unit := float64(n)/1000, 0
	for f >= 999.5 && unit < len(units)-1 {
		f /= 1000
		unit++
	}
	return fmt.Sprintf("%.3g %cB", f, units[unit])
}

// percent is a share of a whole with two digits, for attributes of pictures.
func percent(part, whole int64) string {
	if whole <= 0 {
		return "0"
	}
	return strconv.FormatFloat(100*float64(part)/float64(whole), 'f', 2, 64)
}

// webLink returns a link if it is one to another site, else "".
func webLink(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || text(s) != s {
		return ""
	}
	return u.String()
}

// url is where an entry is shown.
func (e *entry) url() string { return "/image/" + string(e.id) }

// filesURL is where a path of the image is shown, or that of a layer.
func (e *entry) filesURL(path string, layer int) string { return e.pathURL("files", path, layer) }

// rawURL is where a file is downloaded.
func (e *entry) rawURL(path string, layer int) string { return e.pathURL("raw", path, layer) }

func (e *entry) pathURL(kind, path string, layer int) string {
	u := e.url() + "/" + kind
	if path != "" {
		parts := strings.Split(path, "/")
		for i := range parts {
			parts[i] = url.PathEscape(parts[i])
		}
		u += "/" + strings.Join(parts, "/")
	}
	if layer >= 0 {
		u += "?layer=" + strconv.Itoa(layer)
	}
	return u
}

// attach makes browsers save the response as a file, and not run it.
func attach(w http.ResponseWriter, name string) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	disposition := mime.FormatMediaType("attachment", map[string]string{"filename": strings.ToValidUTF8(name, "_")})
	if disposition == "" {
		disposition = "attachment"
	}
	h.Set("Content-Disposition", disposition)
}

// isLoopback reports whether a host, with or without a port, is this machine by its name.
func isLoopback(host string) bool {
	u := url.URL{Host: host}
	name := u.Hostname()
	address, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && address.IsLoopback()
}
