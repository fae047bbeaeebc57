package serving

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// Login is the user and the password that a client sends.
type Login struct {
	User     string
	Password string
	Remote   string // the client's address, with a port or without
}

// ErrDenied means that a user does not exist or has another password.
var ErrDenied = errors.New("the user does not exist or has another password")

// Users are the users that may read, from a file that "htpasswd -B" writes. All methods may
// be called concurrently.
//
// A password is checked with bcrypt, one at a time, which takes long by design. One that was
// right is remembered, as a hash, and not checked again. The number of passwords that wait is
// limited, and lower for one address. Users that do not exist are checked as if they did.
type Users struct {
	log     *slog.Logger
	path    string // of the file; "" if it is not read again
	key     []byte
	compare func(hash, password []byte) error
	checks  checks

	mu         sync.Mutex
	read       stamp // the file that was read, or could not be
	settled    bool  // another change would be seen
	hashes     map[string]string
	order      []string // the hashes, as the file has them
	remembered map[string]remembered
}

// remembered is a password that was right.
type remembered struct {
	password [sha256.Size]byte
	hash     string // for which it was
}

// ParseHtpasswd reads a file of users and hashes of their passwords as "htpasswd -B" writes
// it, with bcrypt and nothing weaker.
func ParseHtpasswd(r io.Reader) (*Users, error) {
	u := newUsers()
	if err := u.parse(r); err != nil {
		return nil, err
	}
	return u, nil
}

// OpenHtpasswd is ParseHtpasswd of the file at a path, which is read again when it changes.
// If it cannot be read then, the users stay as they were, and log, if it is not nil, says
// why.
func OpenHtpasswd(path string, log *slog.Logger) (*Users, error) {
	u := newUsers()
	if log != nil {
		u.log = log
	}
	u.path = path
	if err := u.reread(); err != nil {
		return nil, fmt.Errorf("reading the users in %s: %w", path, err)
	}
	return u, nil
}

func newUsers() *Users {
	u := &Users{
		log: slog.New(slog.DiscardHandler), key: make([]byte, sha256.Size), compare: bcrypt.CompareHashAndPassword,
		remembered: map[string]remembered{},
	}
	_, _ = rand.Read(u.key) // Never fails.
	return u
}

// Authorize is for Options.Authorize. The error is ErrDenied, ErrBusy or that of ctx.
func (u *Users) Authorize(ctx context.Context, l Login) error {
	of := claim{claimant: claimant{address: addressOf(l.Remote), user: l.User}, password: u.sum(l.User, l.Password)}
	known := false
	if of.hash, known = u.find(l.User); known && u.remembers(of) {
		return nil
	}
	right, err := u.checks.do(ctx, of, func() bool { return u.compare([]byte(of.hash), []byte(l.Password)) == nil })
	if err != nil {
		return err
	}
	if !right || !known {
		return ErrDenied
	}
	u.remember(of)
	return nil
}

func (u *Users) sum(user, password string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, u.key)
	fmt.Fprintf(mac, "%d %s%s", len(user), user, password)
	mac.Sum(sum[:0])
	return sum
}

// find returns the hash of a user's password; known is false if there is no such user: the
// hash is then another user's, so that comparing takes the same time.
func (u *Users) find(user string) (hash string, known bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.path != "" {
		u.refresh()
	}
	if hash, known = u.hashes[user]; known {
		return hash, true
	}
	sum := u.sum(user, "")
	return u.order[binary.BigEndian.Uint64(sum[:])%uint64(len(u.order))], false
}

func (u *Users) remembers(of claim) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	r, ok := u.remembered[of.user]
	return ok && r.hash == of.hash && hmac.Equal(r.password[:], of.password[:])
}

func (u *Users) remember(of claim) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.remembered[of.user] = remembered{of.password, of.hash}
}

// settling is how long after a change of a file its time may not tell of the next one.
const settling = 2 * time.Second

// refresh reads the file again if it has changed, or may have. It must be called with u.mu
// held.
func (u *Users) refresh() {
	info, err := os.Stat(u.path)
	now := stamp{info: info}
	if err == nil && u.settled && u.read.same(now) {
		return
	}
	if err == nil {
		err = u.reread()
	}
	if err == nil {
		return
	}
	if !u.read.same(now) {
		u.log.Warn("the users cannot be read, and stay who they were", "path", printable.String(u.path), "error", printable.Error(err))
	}
	u.read, u.settled = now, false
}

// reread reads the file. It must be called with u.mu held, or before others know u.
func (u *Users) reread() error {
	f, err := os.Open(u.path)
	if err != nil {
		return err
	}
	defer f.Close() // It has only been read.
	info, err := f.Stat()
	if err != nil {
		return err
	}
	begun := time.Now()
	data, err := io.ReadAll(io.LimitReader(f, maxUsersFile+1))
	switch {
	case err != nil:
		return err
	case len(data) > maxUsersFile:
		return fmt.Errorf("it is larger than %d bytes", maxUsersFile)
	}
	if err := u.parse(bytes.NewReader(data)); err != nil {
		return err
	}
	u.read, u.settled = stamp{info: info}, begun.Sub(info.ModTime()) > settling
	return nil
}

// maxUsersFile is how many bytes of users are read.
const maxUsersFile = 16 << 20

// parse replaces the users, unless it fails.
func (u *Users) parse(r io.Reader) error {
	hashes, order := map[string]string{}, []string(nil)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return fmt.Errorf("line %d is not of the form USER:HASH", n)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return fmt.Errorf("line %d: the password is not hashed with bcrypt, as by htpasswd -B: %w", n, err)
		}
		hashes[user], order = hash, append(order, hash)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if len(hashes) == 0 {
		return errors.New("there is no user")
	}
	u.hashes, u.order = hashes, order
	for user, r := range u.remembered {
		if hashes[user] != r.hash {
			delete(u.remembered, user)
		}
	}
	return nil
}
