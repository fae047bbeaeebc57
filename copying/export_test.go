package copying

import "time"

// RetryAtOnce lets retries not wait.
func (o *SaveOptions) RetryAtOnce() { o.retryDelay = time.Nanosecond }
