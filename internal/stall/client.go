package stall

import (
	"io"
	"net/http"
)

// Client sends requests like an http.Client, and ends a request with an error when neither its body nor the answer
// moves. It may be used concurrently.
type Client struct{ HTTP *http.Client }

// Do sends a request as http.Client.Do does. The caller must close the body of the answer.
func (c Client) Do(request *http.Request) (*http.Response, error) {
	ctx, w := watching(request.Context(), request.URL.Host, func(string) {})
	request = request.WithContext(ctx)
	if content := request.Body; content != nil && content != http.NoBody {
		request.Body = watchedContent{w.Sent(content), content}
		if again := request.GetBody; again != nil { // It is called if a kept connection had ended already.
			request.GetBody = func() (io.ReadCloser, error) {
				content, err := again()
				if err != nil {
					return nil, err
				}
				return watchedContent{w.Sent(content), content}, nil
			}
		}
	}
	w.Moved()
	answer, err := c.HTTP.Do(request)
	if err != nil {
		err = judged(ctx, err)
		w.end()
		return nil, err
	}
	w.opened()
	answer.Body = &body{ReadCloser: answer.Body, watch: w, ctx: ctx}
	return answer, nil
}

// watchedContent is the body of a request.
type watchedContent struct {
	io.Reader
	io.Closer
}
