package storetest

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minPart is the least size of every part but the last.
const minPart = 5 << 20

// tokenHeader is the only metadata that a store keeps.
const tokenHeader = "X-Amz-Meta-Docker-Archive-Upload"

// upload is an unfinished multipart upload.
type upload struct {
	key       string
	checksums bool // its parts have checksums
	token     string
	parts     map[int]part
}

type part struct {
	data []byte
	sum  string // its CRC32C
}

func (p part) md5() [md5.Size]byte { return md5.Sum(p.data) }

func (p part) etag() string { return fmt.Sprintf(`"%x"`, p.md5()) }

// Unconditional makes a store ignore the conditions of completions.
func (s *Server) Unconditional() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unconditional = true
}

// EqualParts makes a store want all parts of an object but the last to have the same size.
func (s *Server) EqualParts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.equalParts = true
}

// Encrypt gives an object an ETag that is no checksum, as stores do that encrypt.
func (s *Server) Encrypt(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[key]
	o.etag = `"encrypted"`
	s.objects[key] = o
}

// Object returns the content of an object, nil if there is none.
func (s *Server) Object(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key].data
}

// Keys returns the keys of all objects.
func (s *Server) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// Uploads returns the IDs of the unfinished uploads, each with the numbers of its parts.
func (s *Server) Uploads() map[string][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][]int{}
	for id, u := range s.uploads {
		all[id] = slices.Sorted(maps.Keys(u.parts))
	}
	return all
}

// Received returns how many bytes of parts the store has received. Copied bytes do not count.
func (s *Server) Received() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received
}

// write answers requests that concern uploads or change an object. It reports whether this was one.
func (s *Server) write(w http.ResponseWriter, r *http.Request, key string) bool {
	query := r.URL.Query()
	id, isPart := query.Get("uploadId"), query.Has("partNumber")
	var body []byte
	if r.Method == http.MethodPut || r.Method == http.MethodPost {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			Refuse(w, http.StatusBadRequest, "IncompleteBody", err.Error())
			return true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Method == http.MethodPost && query.Has("uploads"):
		s.begin(w, r, key)
	case r.Method == http.MethodGet && query.Has("uploads"):
		s.listUploads(w, query.Get("prefix"))
	case id != "" && s.uploads[id] == nil:
		Refuse(w, http.StatusNotFound, "NoSuchUpload", "The upload does not exist.")
	case r.Method == http.MethodPut && isPart:
		s.putPart(w, r, s.uploads[id], query.Get("partNumber"), body)
	case r.Method == http.MethodPost && id != "":
		s.complete(w, r, id, body)
	case r.Method == http.MethodDelete && id != "":
		delete(s.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet && id != "":
		s.listParts(w, id)
	case r.Method == http.MethodPut:
		s.objects[key] = object{data: body, etag: part{data: body}.etag()}
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		return false
	}
	return true
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request, key string) {
	if s.uploads == nil {
		s.uploads = map[string]*upload{}
	}
	s.begun++
	id := fmt.Sprintf("upload-%d", s.begun)
	s.uploads[id] = &upload{key: key, checksums: r.Header.Get("X-Amz-Checksum-Algorithm") != "", token: r.Header.Get(tokenHeader), parts: map[int]part{}}
	answer(w, struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		UploadId string
	}{UploadId: id})
}

func (s *Server) putPart(w http.ResponseWriter, r *http.Request, u *upload, numbered string, body []byte) {
	number, err := strconv.Atoi(numbered)
	if err != nil {
		Refuse(w, http.StatusBadRequest, "InvalidArgument", err.Error())
		return
	}
	source := r.Header.Get("X-Amz-Copy-Source")
	if source != "" {
		source, _ = url.QueryUnescape(source) // S3 takes a plus sign for a space.
		o := s.objects[strings.TrimPrefix(source, Bucket+"/")]
		if match := r.Header.Get("X-Amz-Copy-Source-If-Match"); match != "" && match != o.etag {
			Refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "another version")
			return
		}
		var from, to int
		if _, err := fmt.Sscanf(r.Header.Get("X-Amz-Copy-Source-Range"), "bytes=%d-%d", &from, &to); err != nil || to >= len(o.data) {
			Refuse(w, http.StatusBadRequest, "InvalidRange", "not in the object")
			return
		}
		body = bytes.Clone(o.data[from : to+1])
	} else {
		s.received += int64(len(body))
	}
	p := part{data: body, sum: base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))))}
	sum := p.md5()
	wantSum, wantMD5 := r.Header.Get("X-Amz-Checksum-Crc32c"), r.Header.Get("Content-MD5")
	if wantSum != "" && wantSum != p.sum || wantMD5 != "" && wantMD5 != base64.StdEncoding.EncodeToString(sum[:]) || wantSum == "" && wantMD5 == "" && u.checksums && source == "" {
		Refuse(w, http.StatusBadRequest, "BadDigest", "the checksum does not match")
		return
	}
	u.parts[number] = p
	if source == "" {
		w.Header().Set("ETag", p.etag())
		return
	}
	answer(w, struct {
		XMLName xml.Name `xml:"CopyPartResult"`
		ETag    string
	}{ETag: p.etag()})
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request, id string, body []byte) {
	var request struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(body, &request); err != nil {
		Refuse(w, http.StatusBadRequest, "MalformedXML", err.Error())
		return
	}
	u := s.uploads[id]
	old, found := s.objects[u.key]
	match := r.Header.Get("If-Match")
	if !s.unconditional && (r.Header.Get("If-None-Match") == "*" && found || match != "" && match != old.etag) {
		Refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "the condition does not hold")
		return
	}
	var data, sums []byte
	for i, wanted := range request.Part {
		p, ok := u.parts[wanted.PartNumber]
		switch {
		case !ok || p.etag() != wanted.ETag:
			Refuse(w, http.StatusBadRequest, "InvalidPart", "no such part")
			return
		case i < len(request.Part)-1 && len(p.data) < minPart:
			Refuse(w, http.StatusBadRequest, "EntityTooSmall", "a part is too small")
			return
		case s.equalParts && i < len(request.Part)-1 && len(p.data) != len(u.parts[request.Part[0].PartNumber].data):
			Refuse(w, http.StatusBadRequest, "InvalidPart", "all parts but the last must have the same size")
			return
		}
		sum := p.md5()
		data, sums = append(data, p.data...), append(sums, sum[:]...)
	}
	whole := md5.Sum(sums)
	s.objects[u.key] = object{data, fmt.Sprintf(`"%s-%d"`, hex.EncodeToString(whole[:]), len(request.Part)), u.token}
	delete(s.uploads, id)
	answer(w, struct {
		XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
		ETag    string
	}{ETag: s.objects[u.key].etag})
}

func (s *Server) listUploads(w http.ResponseWriter, prefix string) {
	type listed struct {
		Key, UploadId string
		Initiated     time.Time
	}
	var all []listed
	for id, u := range s.uploads {
		if strings.HasPrefix(u.key, prefix) {
			all = append(all, listed{u.key, id, time.Unix(1e9, 0).UTC()})
		}
	}
	slices.SortFunc(all, func(a, b listed) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.UploadId, b.UploadId)) })
	answer(w, struct {
		XMLName xml.Name `xml:"ListMultipartUploadsResult"`
		Upload  []listed
	}{Upload: all})
}

func (s *Server) listParts(w http.ResponseWriter, id string) {
	type listed struct {
		PartNumber, Size int
		ETag             string
		ChecksumCRC32C   string `xml:",omitempty"`
	}
	var all []listed
	u := s.uploads[id]
	for _, number := range slices.Sorted(maps.Keys(u.parts)) {
		p := u.parts[number]
		l := listed{PartNumber: number, Size: len(p.data), ETag: p.etag()}
		if u.checksums {
			l.ChecksumCRC32C = p.sum
		}
		all = append(all, l)
	}
	answer(w, struct {
		XMLName xml.Name `xml:"ListPartsResult"`
		Part    []listed
	}{Part: all})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/xml")
	data, err := xml.Marshal(v)
	if err != nil {
		Refuse(w, http.StatusInternalServerError, "InternalError", err.Error())
		return
	}
	_, _ = w.Write(data) // It fails only if the client is gone.
}
