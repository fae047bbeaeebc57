package serving_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/serving"
)

// htpasswd returns a line of a file.
func htpasswd(t *testing.T, user, password string, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	require.NoError(t, err)
	return user + ":" + strings.Replace(string(hash), "$2a$", "$2y$", 1) + "\n" // As Apache has it.
}

func parse(t *testing.T, lines ...string) *serving.Users {
	t.Helper()
	u, err := serving.ParseHtpasswd(strings.NewReader(strings.Join(lines, "")))
	require.NoError(t, err)
	return u
}

func TestHtpasswd(t *testing.T) {
	u := parse(t, "# users\n\n", htpasswd(t, "anna", "secret", bcrypt.MinCost), htpasswd(t, "carl", "other", bcrypt.MinCost))
	for range 2 { // A right password is remembered.
		for login, want := range map[serving.Login]error{
			{User: "anna", Password: "secret"}: nil,
			{User: "carl", Password: "other"}:  nil,
			{User: "anna", Password: "other"}:  serving.ErrDenied,
			{User: "anna"}:                     serving.ErrDenied,
			{User: "bert", Password: "secret"}: serving.ErrDenied,
			{User: "bert", Password: "other"}:  serving.ErrDenied, // With whosever hash it is compared.
			{Password: "secret"}:               serving.ErrDenied,
		} {
			require.ErrorIs(t, u.Authorize(t.Context(), login), want, "%v", login)
		}
	}
	hash := htpasswd(t, "", "secret", bcrypt.MinCost)
	for text, want := range map[string]string{
		"":                         "there is no user",
		"anna":                     "line 1",
		hash:                       "line 1",
		"anna:{SHA}5en6G6MezRroT3": "line 1: the password is not hashed with bcrypt",
	} {
		_, err := serving.ParseHtpasswd(strings.NewReader(text))
		require.ErrorContains(t, err, want)
	}
}

// The time that it takes does not tell who is a user: each password is compared with a hash
// that some user has.
func TestUnknownUsersAreCompared(t *testing.T) {
	cheap, dear := htpasswd(t, "anna", "a", bcrypt.MinCost), htpasswd(t, "bert", "b", bcrypt.MinCost+1)
	u := parse(t, cheap, dear)
	var compared []string
	u.Compare(func(hash, _ []byte) error {
		compared = append(compared, string(hash))
		return errors.New("wrong")
	})
	used := map[string]int{}
	for n := range 100 {
		require.ErrorIs(t, u.Authorize(t.Context(), serving.Login{User: fmt.Sprint("user", n), Password: "x"}), serving.ErrDenied)
		require.Len(t, compared, n+1)
		require.ErrorIs(t, u.Authorize(t.Context(), serving.Login{User: fmt.Sprint("user", n), Password: "y"}), serving.ErrDenied)
		assert.Equal(t, compared[n], compared[n+1], "always with the same")
		used[compared[n]]++
		compared = compared[:n+1]
	}
	assert.Len(t, used, 2, "of any cost that there is")
}

// A file that changes is read again at once, even if its time and its size are the same.
// One that cannot be read changes nothing.
func TestHtpasswdChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	file := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	anna, again, bert := htpasswd(t, "anna", "one", bcrypt.MinCost), htpasswd(t, "anna", "two", bcrypt.MinCost), htpasswd(t, "bert", "one", bcrypt.MinCost)
	file(anna)
	var out bytes.Buffer
	u, err := serving.OpenHtpasswd(path, slog.New(slog.NewTextHandler(&out, nil)))
	require.NoError(t, err)
	authorize := func(user, password string) error {
		return u.Authorize(t.Context(), serving.Login{User: user, Password: password})
	}
	require.NoError(t, authorize("anna", "one"))
	info, err := os.Stat(path)
	require.NoError(t, err)
	file(again)
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	require.ErrorIs(t, authorize("anna", "one"), serving.ErrDenied, "although it was remembered")
	require.NoError(t, authorize("anna", "two"))
	file(bert)
	require.ErrorIs(t, authorize("anna", "two"), serving.ErrDenied)
	require.NoError(t, authorize("bert", "one"))

	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	require.NoError(t, authorize("bert", "one"))
	file(bert + again)
	require.NoError(t, authorize("anna", "two"))
	assert.Empty(t, out.String())

	for _, broken := range []func(){func() { file("") }, func() { file("anna:" + "x\n") }, func() { require.NoError(t, os.Remove(path)) }} {
		out.Reset()
		broken()
		for range 3 {
			require.NoError(t, authorize("bert", "one"))
			require.NoError(t, authorize("anna", "two"))
		}
		assert.Equal(t, 1, strings.Count(out.String(), "cannot be read"), out.String())
	}
	file(anna)
	require.NoError(t, authorize("anna", "one"))
	require.ErrorIs(t, authorize("bert", "one"), serving.ErrDenied)

	_, err = serving.OpenHtpasswd(path+"-none", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// fromAddress is a connection from an address.
type fromAddress struct {
	net.Conn
	address string
}

// RemoteAddr implements net.Conn.
func (c fromAddress) RemoteAddr() net.Addr { return named(c.address) }

type named string

func (named) Network() string  { return "tcp" }
func (n named) String() string { return string(n) }

// oneCheck is how long a password takes to be checked in tests, which have a time of their own.
const oneCheck = time.Second

// guarded has a test ask a server with users anna, bert and carl, whose passwords are their
// names.
func guarded(t *testing.T, test func(t *testing.T, dial func(address string) net.Conn, checks func() int)) {
	path := newLayout(t).add(imagetest.NewImage(t, "it"), "team/app:1").write()
	var lines []string
	for _, user := range []string{"anna", "bert", "carl"} {
		lines = append(lines, htpasswd(t, user, user, bcrypt.MinCost))
	}
	synctest.Test(t, func(t *testing.T) {
		u := parse(t, lines...)
		var checks, running atomic.Int64
		u.Compare(func(hash, password []byte) error {
			assert.Equal(t, int64(1), running.Add(1), "one at a time")
			defer running.Add(-1)
			checks.Add(1)
			time.Sleep(oneCheck)
			return bcrypt.CompareHashAndPassword(hash, password)
		})
		s, err := serving.New(t.Context(), []string{path}, serving.Options{Authorize: u.Authorize})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		l := newPipes()
		var done sync.WaitGroup
		done.Go(func() { assert.NoError(t, serving.Serve(ctx, l, s, "", "", time.Minute)) })
		test(t, func(address string) net.Conn {
			client, server := net.Pipe()
			l.conns <- fromAddress{server, address}
			return client
		}, func() int { return int(checks.Load()) })
		synctest.Wait()
		cancel()
		done.Wait()
		require.NoError(t, s.Close())
	})
}

// login sends a request over a connection, without reading the answer.
func login(t *testing.T, c net.Conn, user, password string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://test/v2/", nil)
	require.NoError(t, err)
	r.SetBasicAuth(user, password)
	require.NoError(t, r.Write(c))
}

// answered returns the status of an answer, and closes the connection.
func answered(t *testing.T, c net.Conn) int {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	if response.StatusCode == http.StatusTooManyRequests {
		assert.NotEmpty(t, response.Header.Get("Retry-After"))
	}
	return response.StatusCode
}

// However many wrong passwords somebody sends, others wait for no more than the check that
// has begun, and their own. A user whose password was right before does not wait at all.
func TestFloodOfPasswords(t *testing.T) {
	const here, there = "192.0.2.1:4321", "192.0.2.2:4321"
	for name, c := range map[string]struct {
		attempts int
		gone     bool // the connections are closed at once
		user     func(n int) string
		from     func(n int) string
		other    string // the address of the others
	}{
		"closed":            {3000, true, func(int) string { return "anna" }, func(int) string { return here }, there},
		"closed, one place": {3000, true, func(int) string { return "anna" }, func(int) string { return here }, here},
		"open":              {900, false, func(int) string { return "anna" }, func(int) string { return here }, there},
		"open, one place":   {900, false, func(int) string { return "anna" }, func(int) string { return here }, here},
		"many users":        {900, false, func(n int) string { return fmt.Sprint("user", n) }, func(int) string { return here }, there},
		"users, one place":  {900, false, func(n int) string { return fmt.Sprint("user", n) }, func(int) string { return here }, here},
		"many addresses":    {900, false, func(int) string { return "anna" }, func(n int) string { return fmt.Sprintf("10.0.%d.%d:1", n/256, n%256) }, there},
		"one IPv6 network":  {900, false, func(int) string { return "anna" }, func(n int) string { return fmt.Sprintf("[2001:db8::%x]:1", n) }, "[2001:db8:0:1::1]:1"},
		"the user's own":    {900, false, func(int) string { return "bert" }, func(int) string { return here }, there},
	} {
		t.Run(name, func(t *testing.T) {
			guarded(t, func(t *testing.T, dial func(string) net.Conn, checks func() int) {
				remembered := dial(there)
				login(t, remembered, "carl", "carl")
				require.Equal(t, http.StatusOK, answered(t, remembered))

				var open []net.Conn
				var reading sync.WaitGroup
				for n := range c.attempts {
					attack := dial(c.from(n))
					login(t, attack, c.user(n), fmt.Sprint("wrong", n))
					if c.gone {
						require.NoError(t, attack.Close())
						continue
					}
					open = append(open, attack)
					reading.Go(func() { _, _ = io.Copy(io.Discard, attack) })
				}
				synctest.Wait()
				begun, before := time.Now(), checks()
				other := dial(c.other)
				login(t, other, "bert", "bert")
				known := dial(c.other)
				login(t, known, "carl", "carl")
				assert.Equal(t, http.StatusOK, answered(t, known))
				assert.Zero(t, time.Since(begun))
				assert.Equal(t, http.StatusOK, answered(t, other))
				assert.LessOrEqual(t, time.Since(begun), 2*oneCheck)
				assert.LessOrEqual(t, checks()-before, 2)
				for _, attack := range open {
					require.NoError(t, attack.Close())
				}
				reading.Wait()
				synctest.Wait()
				time.Sleep(oneCheck)
				synctest.Wait()
				assert.LessOrEqual(t, checks(), 5, "nobody's passwords are checked who is gone")
			})
		})
	}
}

// A client has a limited number of places to wait at, and gets an error when there is none.
func TestPlacesToWait(t *testing.T) {
	guarded(t, func(t *testing.T, dial func(string) net.Conn, checks func() int) {
		var mu sync.Mutex
		statuses := map[int]int{}
		var all sync.WaitGroup
		for n := range 40 {
			c := dial("192.0.2.1:1")
			login(t, c, "anna", fmt.Sprint("wrong", n))
			synctest.Wait() // So that the first one is being checked when the others come.
			all.Go(func() {
				status := answered(t, c)
				mu.Lock()
				defer mu.Unlock()
				statuses[status]++
			})
		}
		all.Wait()
		assert.Equal(t, map[int]int{http.StatusUnauthorized: 17, http.StatusTooManyRequests: 23}, statuses)
		assert.Equal(t, 17, checks(), "one at once, and 16 that waited")
	})
}

// Many clients with one password, as the nodes of a cluster, wait for one check.
func TestSamePassword(t *testing.T) {
	guarded(t, func(t *testing.T, dial func(string) net.Conn, checks func() int) {
		begun := time.Now()
		var all sync.WaitGroup
		for range 200 {
			c := dial("192.0.2.1:1")
			login(t, c, "anna", "anna")
			all.Go(func() { assert.Equal(t, http.StatusOK, answered(t, c)) })
		}
		all.Wait()
		assert.Equal(t, 1, checks())
		assert.Equal(t, oneCheck, time.Since(begun))
	})
}
