package imagetest

import (
	"net/http"
	"sync/atomic"
)

// Interceptor lets a test answer requests instead of a server. It may be changed at any
// time: a client that gave up leaves requests behind that the server still answers.
type Interceptor struct {
	answer atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

// Intercept has answer see every request from now on. It reports whether it has answered
// the request; nil answers none.
func (i *Interceptor) Intercept(answer func(w http.ResponseWriter, r *http.Request) bool) {
	i.answer.Store(&answer)
}

// Answer answers a request as the test wishes, and reports whether it has.
func (i *Interceptor) Answer(w http.ResponseWriter, r *http.Request) bool {
	answer := i.answer.Load()
	return answer != nil && *answer != nil && (*answer)(w, r)
}
