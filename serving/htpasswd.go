package serving

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// ParseHtpasswd reads a file of users and hashes of their passwords as "htpasswd -B"
// writes it, with bcrypt and nothing weaker, and returns what Options.Authorize wants.
// Of a password that was right once, only a hash is kept to tell it fast.
func ParseHtpasswd(r io.Reader) (authorize func(user, password string) bool, err error) {
	hashes := map[string][]byte{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return nil, fmt.Errorf("line %d is not of the form USER:HASH", n)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return nil, fmt.Errorf("line %d: the password is not hashed with bcrypt, as by htpasswd -B: %w", n, err)
		}
		hashes[user] = []byte(hash)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(hashes) == 0 {
		return nil, errors.New("there is no user")
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // Never fails.
	return (&users{hashes: hashes, key: string(key), busy: make(chan struct{}, 1)}).authorize, nil
}

// users are those who may read.
type users struct {
	hashes map[string][]byte
	key    string
	busy   chan struct{} // held by who computes a hash, which takes long by design
	known  sync.Map      // of what was right, keyed hashes
}

func (u *users) authorize(user, password string) bool {
	hash, ok := u.hashes[user]
	if !ok {
		return false
	}
	sum := sha256.Sum256([]byte(u.key + user + "\x00" + password))
	if _, ok := u.known.Load(sum); ok {
		return true
	}
	u.busy <- struct{}{}
	defer func() { <-u.busy }()
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return false
	}
	u.known.Store(sum, true)
	return true
}
