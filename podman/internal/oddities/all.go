package oddities

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

var digestTag = regexp.MustCompile(`/manifests/sha256-[0-9a-f]{64}$`)

// nginx is the page that a proxy before a registry answers with.
const nginx = "<html>\r\n<head><title>%s</title></head>\r\n<body><hr><center>nginx</center></body>\r\n</html>"

// All are the oddities that commands are tested with.
var All = []Oddity{
	{Name: "none", Seen: "distribution", Wrap: func(next http.Handler) http.Handler { return next }},
	{
		Name: "a digest tag is the image itself", Seen: "GitLab", NoReferrers: true,
		Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPut && digestTag.MatchString(r.URL.Path) {
					r.URL.Path = strings.Replace(r.URL.Path, "/manifests/sha256-", "/manifests/sha256:", 1)
				}
				next.ServeHTTP(w, r)
			})
		},
	},
	{Name: "tokens end while blobs are read", Seen: "GitLab, Docker Hub behind a proxy", Wrap: tokens(2, asked("GET", "/blobs/"))},
	{Name: "tokens end while blobs are sent", Seen: "GitLab, Harbor", Wrap: tokens(1, sending)},
	{Name: "tokens end while manifests are sent", Seen: "GitLab", Wrap: tokens(1, asked("PUT", "/manifests/"))},
	{Name: "no referrers API, and a page", Seen: "Docker Hub", NoReferrers: true, Wrap: answering(asked("GET", "/referrers/"), answer(http.StatusNotFound, "404 page not found\n"))},
	{Name: "no referrers API, and 405", Seen: "ECR", NoReferrers: true, Wrap: answering(asked("GET", "/referrers/"), answer(http.StatusMethodNotAllowed, ""))},
	{
		Name: "the referrers API lists nothing", Seen: "Artifactory", NoReferrers: true,
		Wrap: answering(asked("GET", "/referrers/"), answer(http.StatusOK, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`, "Content-Type", "application/vnd.oci.image.index.v1+json")),
		Says: map[string]string{"push": "does not list it", "push chunks": "does not list it"},
	},
	{Name: "manifests are application/json", Seen: "Quay, Nexus", Wrap: changing(asked("GET HEAD", "/manifests/"), setType("application/json"))},
	{Name: "manifests are text/plain", Seen: "Nexus behind a proxy", Wrap: changing(asked("GET HEAD", "/manifests/"), setType("text/plain; charset=utf-8"))},
	{Name: "manifests have no type", Seen: "Nexus", Wrap: changing(asked("GET HEAD", "/manifests/"), func(_ *http.Request, status int, h http.Header) int {
		h["Content-Type"] = nil // Else Go makes one up.
		return status
	})},
	{Name: "HEAD of a blob is 403", Seen: "Artifactory, Quay's robots", Wrap: answering(asked("HEAD", "/blobs/"), answer(http.StatusForbidden, ""))},
	{Name: "HEAD of a blob is 405", Seen: "ECR Public", Wrap: answering(asked("HEAD", "/blobs/"), answer(http.StatusMethodNotAllowed, ""))},
	{Name: "HEAD of a manifest is 404", Seen: "Nexus", Wrap: answering(asked("HEAD", "/manifests/"), answer(http.StatusNotFound, ""))},
	{Name: "HEAD of a manifest is 405", Seen: "Artifactory", Wrap: answering(asked("HEAD", "/manifests/"), answer(http.StatusMethodNotAllowed, ""))},
	{
		Name: "a repository has to be made first", Seen: "ECR",
		Wrap:  answering(asked("POST PATCH PUT", ""), answer(http.StatusNotFound, `{"errors":[{"code":"NAME_UNKNOWN","message":"The repository with name 'x' does not exist in the registry"}]}`)),
		Fails: map[string]string{"push": "repository", "push chunks": "repository", "copy to": "repository"},
	},
	{
		Name: "a proxy limits bodies", Seen: "Harbor, Nexus behind nginx",
		Wrap:  answering(func(r *http.Request) bool { return sending(r) && r.ContentLength > 64<<10 }, answer(http.StatusRequestEntityTooLarge, strings.Replace(nginx, "%s", "413 Request Entity Too Large", 1))),
		Fails: map[string]string{"push": "--chunk-size", "copy to": "limit"},
	},
	{
		Name: "its disk is full", Seen: "distribution", Once: true,
		Wrap:  answering(sending, answer(http.StatusInternalServerError, `{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"DriverName":"filesystem","Enclosed":{"Op":"write","Path":"/var/lib/registry","Err":28}}}]}`)),
		Fails: map[string]string{"push": "no space left", "push chunks": "no space left", "copy to": "no space left"},
	},
	{
		Name: "its store is full", Seen: "Nexus, Artifactory", Once: true,
		Wrap:  answering(sending, answer(http.StatusInsufficientStorage, strings.Replace(nginx, "%s", "507 Insufficient Storage", 1))),
		Fails: map[string]string{"push": "no space left", "push chunks": "no space left", "copy to": "no space left"},
	},
	{
		Name: "chunks have a least size", Seen: "GHCR, Google",
		Wrap: leastChunk(30_000),
	},
	{
		Name: "takes no blob in the request that ends its upload", Seen: "Artifactory of 2019",
		Wrap: answering(func(r *http.Request) bool { return sending(r) && r.Method == http.MethodPut }, answer(http.StatusBadRequest, `{"errors":[{"code":"DIGEST_INVALID"}]}`)),
	},
	{Name: "manifests are sent too often", Seen: "Quay", Wrap: first(1, asked("PUT", "/manifests/"), answer(http.StatusTooManyRequests, "", "Retry-After", "0"))},
	{Name: "blobs are sent too often", Seen: "Quay, Artifactory", Wrap: first(1, sending, answer(http.StatusTooManyRequests, "", "Retry-After", "0"))},
	{Name: "uploads begin too often", Seen: "Docker Hub", Wrap: first(1, asked("POST", "/blobs/uploads/"), answer(http.StatusTooManyRequests, `{"errors":[{"code":"TOOMANYREQUESTS"}]}`, "Retry-After", "0"))},
	{Name: "referrers are asked for too often", Seen: "GHCR", Wrap: first(1, asked("GET", "/referrers/"), answer(http.StatusTooManyRequests, "", "Retry-After", "0"))},
	{Name: "pulls are too many", Seen: "Docker Hub", Wrap: first(1, asked("GET", "/manifests/"), answer(http.StatusTooManyRequests, `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}`, "Retry-After", "0"))},
	{Name: "busy at times", Seen: "Artifactory", Wrap: first(1, asked("GET PUT PATCH POST", "/blobs/"), answer(http.StatusServiceUnavailable, strings.Replace(nginx, "%s", "503", 1), "Retry-After", "0"))},
	{Name: "manifests are sent too often, and a date says until when", Seen: "Artifactory behind a proxy", Wrap: first(1, asked("PUT", "/manifests/"), untilNow(http.StatusTooManyRequests))},
	{Name: "blobs are sent while it is busy, and a date says until when", Seen: "Quay", Wrap: first(1, sending, untilNow(http.StatusServiceUnavailable))},
	{Name: "tokens are asked for too often", Seen: "Docker Hub, GitLab", Wrap: func(next http.Handler) http.Handler {
		return first(1, asked("GET POST", "/token"), answer(http.StatusTooManyRequests, `{"errors":[{"code":"TOOMANYREQUESTS"}]}`, "Retry-After", "0"))(tokens(1<<20, asked("GET", ""))(next))
	}},
	{Name: "tokens are given only after a while", Seen: "Harbor", Wrap: func(next http.Handler) http.Handler {
		return first(1, asked("GET POST", "/token"), untilNow(http.StatusServiceUnavailable))(tokens(1<<20, asked("GET", ""))(next))
	}},
	{Name: "never mounts", Seen: "GHCR, GitLab", Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				r.URL.RawQuery = ""
			}
			next.ServeHTTP(w, r)
		})
	}},
	{Name: "refuses to mount", Seen: "ECR", Wrap: answering(func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("mount") }, answer(http.StatusNotFound, `{"errors":[{"code":"NAME_UNKNOWN"}]}`))},
	{Name: "blobs are elsewhere", Seen: "ECR, Docker Hub, GHCR, Quay", Wrap: elsewhere},
	{Name: "ranges are not known", Seen: "Nexus, Artifactory", Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			next.ServeHTTP(w, r)
		})
	}},
	{Name: "no digest in the header", Seen: "Nexus", Wrap: changing(asked("GET HEAD PUT", ""), func(_ *http.Request, status int, h http.Header) int {
		h.Del("Docker-Content-Digest")
		return status
	})},
	{Name: "tags that are null", Seen: "Harbor, distribution", Wrap: changingTags},
	{Name: "other statuses for what is written", Seen: "Quay, Artifactory", Wrap: changing(asked("PATCH", ""), func(_ *http.Request, status int, _ http.Header) int {
		if status == http.StatusAccepted {
			return http.StatusNoContent
		}
		return status
	})},
}

// sending reports whether a request brings bytes of a blob.
func sending(r *http.Request) bool {
	return r.ContentLength != 0 && asked("PATCH PUT", "/blobs/uploads/")(r)
}

// leastChunk is a registry that wants chunks of so many bytes, except for the last one.
func leastChunk(least int64) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		var mu sync.Mutex
		small := map[string]bool{} // uploads whose last chunk was
		refusing := answering(func(r *http.Request) bool {
			if r.Method != http.MethodPatch {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			was := small[r.URL.Path]
			small[r.URL.Path] = r.ContentLength < least
			return was
		}, answer(http.StatusRequestedRangeNotSatisfiable, `{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"chunk too small"}]}`))
		return changing(asked("POST", "/blobs/uploads/"), func(_ *http.Request, status int, h http.Header) int {
			h.Set("OCI-Chunk-Min-Length", strconv.FormatInt(least, 10))
			return status
		})(refusing(next))
	}
}

// untilNow answers with a status and a date after which it may be tried again.
func untilNow(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer(status, "", "Retry-After", time.Now().UTC().Format(http.TimeFormat))(w, r)
	}
}

func setType(mediaType string) func(*http.Request, int, http.Header) int {
	return func(_ *http.Request, status int, h http.Header) int {
		h.Set("Content-Type", mediaType)
		return status
	}
}

// elsewhere is a registry whose blobs are at another host, which takes no credentials of
// the registry.
func elsewhere(next http.Handler) http.Handler {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			answer(http.StatusBadRequest, "<Error><Code>InvalidArgument</Code></Error>")(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})) // Ends with the process.
	return tokens(1<<20, asked("GET", ""))(answering(asked("GET", "/blobs/sha256:"), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(store.URL, "127.0.0.1", "localhost", 1)+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	})(next))
}

// changingTags lists null and digests among tags.
func changingTags(next http.Handler) http.Handler {
	return answering(asked("GET", "/tags/list"), func(w http.ResponseWriter, r *http.Request) {
		recorded := httptest.NewRecorder()
		next.ServeHTTP(recorded, r)
		body := strings.Replace(recorded.Body.String(), `"tags":[`, `"tags":[null,`, 1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	})(next)
}
