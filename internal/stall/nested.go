package stall

import (
	"context"
	"net/http/httptrace"
)

// hooksKey is the key of the hooks that a context had before its requests were watched.
type hooksKey struct{}

type hooks struct{ *httptrace.ClientTrace }

// unwatched returns ctx for requests that another Watch is for than the one around it. That one would begin to wait
// for an answer which only the other sees the end of.
func unwatched(ctx context.Context) context.Context {
	before, watched := ctx.Value(hooksKey{}).(hooks)
	if !watched {
		return context.WithValue(ctx, hooksKey{}, hooks{httptrace.ContextClientTrace(ctx)})
	}
	return hookedContext{ctx, before.ClientTrace}
}

// hookedContext is a context with other hooks.
type hookedContext struct {
	context.Context
	trace *httptrace.ClientTrace
}

// Value implements context.Context.
func (c hookedContext) Value(key any) any {
	value := c.Context.Value(key)
	if _, ok := value.(*httptrace.ClientTrace); ok {
		return c.trace
	}
	return value
}
