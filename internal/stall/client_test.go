package stall_test

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/stall"
)

// A request ends if no answer begins, or if the answer stops. A slow body of a request may take any time.
func TestClient(t *testing.T) {
	const half = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"
	for name, c := range map[string]struct {
		answer string
		data   string
		after  time.Duration // -1: never
	}{
		"no answer":     {"", "", time.Minute},
		"one byte":      {"H", "", 2 * time.Minute},
		"half a header": {half[:20], "", 2 * time.Minute},
		"in a body":     {half, "half", time.Minute},
		"all of one":    {half + "half", "halfhalf", -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := stall.Client{HTTP: answering(t, func(w io.Writer) { _, _ = io.WriteString(w, c.answer) })}
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://store.example/blob", nil)
				require.NoError(t, err)
				start, data := time.Now(), []byte(nil)
				answer, err := client.Do(request)
				if err == nil {
					data, err = io.ReadAll(answer.Body)
					require.NoError(t, answer.Body.Close())
				}
				assert.Equal(t, c.data, string(data))
				if c.after < 0 {
					require.NoError(t, err)
					return
				}
				require.EqualError(t, err, "store.example:80 has sent nothing for "+c.after.String())
				assert.Equal(t, c.after, time.Since(start))
			})
		})
	}
	t.Run("slow content", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client := stall.Client{HTTP: answering(t, func(w io.Writer) {
				for line := bufio.NewScanner(w.(io.Reader)); line.Scan() && line.Text() != "0"; { // All chunks.
				}
				_, _ = io.WriteString(w, half+"half")
			})}
			r, w := io.Pipe()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://store.example/blob", r)
			require.NoError(t, err)
			go func() {
				time.Sleep(time.Hour)
				_ = w.Close()
			}()
			answer, err := client.Do(request)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
		})
	})
}
