package making

import "time"

// SetDelay sets how long a base waits before the second attempt.
func (b *Base) SetDelay(d time.Duration) { b.delay = d }
