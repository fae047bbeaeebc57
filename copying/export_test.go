package copying

import "time"

// RetryAtOnce lets retries not wait.
func (o *SaveOptions) RetryAtOnce() { o.retryDelay = time.Nanosecond }

// RetryAtOnce lets retries not wait.
func (o *PushOptions) RetryAtOnce() { o.retryDelay = time.Nanosecond }
