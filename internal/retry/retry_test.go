package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	errForGood = errors.New("for good")
	errPassing = fmt.Errorf("reading: %w", io.ErrUnexpectedEOF)
)

// attempts runs policy.Do with a function that fails with each of failures in
// turn, and returns the delays before its further attempts.
func attempts(t *testing.T, policy Policy, failures ...error) (delays []time.Duration, err error) {
	t.Helper()
	last, n, announced := time.Now(), 0, 0
	err = policy.Do(t.Context(), func(err error) {
		assert.Equal(t, failures[announced], err)
		announced++
	}, func() error {
		if n > 0 {
			delays = append(delays, time.Since(last))
			last = time.Now()
		}
		n++
		if n > len(failures) {
			return nil
		}
		return failures[n-1]
	})
	assert.Len(t, delays, announced)
	return delays, err
}

func assertDelays(t *testing.T, want, got []time.Duration) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		assert.InEpsilon(t, want[i], got[i], Jitter+1e-6)
	}
}

func repeated(err error, n int) (failures []error) {
	for range n {
		failures = append(failures, err)
	}
	return failures
}

func TestDoDoublesTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delays, err := attempts(t, Policy{Times: 8}, repeated(errPassing, 8)...)
		require.NoError(t, err)
		assertDelays(t, []time.Duration{
			time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second, 30 * time.Second,
		}, delays)
		delays, err = attempts(t, Policy{Times: 2, FirstDelay: time.Minute}, repeated(errPassing, 2)...)
		require.NoError(t, err)
		assertDelays(t, []time.Duration{time.Minute, time.Minute}, delays)
	})
}

func TestDelayThatIsFixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := Policy{Times: 3, Delay: 5 * time.Second}
		delays, err := attempts(t, policy, errPassing, asking(time.Minute), asking(time.Second))
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{5 * time.Second, time.Minute, 5 * time.Second}, delays)
	})
}

// Clients that failed together do not come back together.
func TestDelaysDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, _ := attempts(t, Policy{Times: 5}, repeated(errPassing, 5)...)
		second, _ := attempts(t, Policy{Times: 5}, repeated(errPassing, 5)...)
		assert.NotEqual(t, first, second)
	})
}

func TestFinal(t *testing.T) {
	err := fmt.Errorf("x: %w", Final(io.ErrUnexpectedEOF))
	assert.Equal(t, Verdict{}, Policy{}.Judge(err))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, "x: unexpected EOF", err.Error())
}

func TestDoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for times := range 3 {
			delays, err := attempts(t, Policy{Times: times}, repeated(errPassing, 4)...)
			assert.Equal(t, errPassing, err)
			assert.Len(t, delays, times)
		}
		delays, err := attempts(t, Policy{Times: 3}, errPassing, errForGood)
		assert.Equal(t, errForGood, err)
		assert.Len(t, delays, 1)
		delays, err = attempts(t, Policy{Times: -1}, errPassing)
		assert.Equal(t, errPassing, err)
		assert.Empty(t, delays)
	})
}

// asking is an error of a server that says when to come back.
type asking time.Duration

func (e asking) Error() string             { return "not now" }
func (e asking) RetryAfter() time.Duration { return time.Duration(e) }

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delays, err := attempts(t, Policy{Times: 3}, fmt.Errorf("busy: %w", asking(time.Minute)), errPassing, asking(5*time.Minute))
		require.NoError(t, err)
		assert.Equal(t, time.Minute, delays[0])
		assert.InEpsilon(t, 2*time.Second, delays[1], Jitter+1e-6)
		assert.Equal(t, 5*time.Minute, delays[2])

		// An impatient server does not make the client so.
		delays, err = attempts(t, Policy{Times: 1}, asking(time.Nanosecond))
		require.NoError(t, err)
		assertDelays(t, []time.Duration{time.Second}, delays)

		delays, err = attempts(t, Policy{Times: 1}, asking(5*time.Minute+1))
		require.ErrorIs(t, err, asking(5*time.Minute+1))
		require.ErrorContains(t, err, "not tried again")
		assert.Empty(t, delays)
	})
}

func TestClassifiers(t *testing.T) {
	errOther := errors.New("other")
	policy := Policy{Times: 1, Classifiers: []Classifier{
		func(err error) (Verdict, bool) { return Verdict{}, errors.Is(err, errPassing) },
		func(err error) (Verdict, bool) {
			return Verdict{Retry: true, After: time.Minute}, !errors.Is(err, errForGood) && !errors.As(err, new(asking))
		},
	}}
	assert.Equal(t, Verdict{}, policy.Judge(errPassing), "the first that knows it")
	assert.Equal(t, Verdict{Retry: true, After: time.Minute}, policy.Judge(errOther))
	assert.Equal(t, Verdict{}, policy.Judge(errForGood), "none knows it")
	assert.Equal(t, Verdict{Retry: true, After: time.Hour}, policy.Judge(asking(time.Hour)))
	assert.Equal(t, Verdict{}, policy.Judge(fmt.Errorf("x: %w", context.Canceled)), "is none's to judge")
	synctest.Test(t, func(t *testing.T) {
		delays, err := attempts(t, policy, errOther)
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{time.Minute}, delays)
	})
}

func TestContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errStop := errors.New("stop")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errStop)
		defer cancel()
		start := time.Now()
		err := Policy{Times: 1}.Do(ctx, nil, func() error { return errPassing })
		require.ErrorIs(t, err, errStop)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Equal(t, time.Millisecond, time.Since(start))
		announced := false
		err = Policy{Times: 1}.Do(ctx, func(error) { announced = true }, func() error { return errPassing })
		assert.Equal(t, errPassing, err)
		assert.False(t, announced)
	})
}
