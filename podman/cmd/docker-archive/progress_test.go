package main

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"

	"github.com/dockerarchive/dockerarchive/progress"
)

// Without bars, a line reports progress every ten seconds, if there is any.
func TestProgressLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const image = "docker://alpine:3.20"
		var out bytes.Buffer
		show, end := newProgress(&out)
		defer end()
		said := func() string {
			synctest.Wait()
			defer out.Reset()
			return out.String()
		}
		blob := digest.FromString("blob")
		show(progress.Event{Kind: progress.Planned, Blobs: 2, Size: 100e6, Present: 3})
		show(progress.Event{Kind: progress.Started, Blob: blob, Image: image, Size: 60e6})
		assert.Equal(t, "fetching 2 blobs, 100MB; the archive has 3\n", said())
		for range 11 {
			show(progress.Event{Kind: progress.Read, Blob: blob, Bytes: 1e6})
			time.Sleep(time.Second - time.Millisecond)
		}
		assert.Equal(t, "11% of 100MB, 1.1MB/s, 1m21s left\n", said())
		time.Sleep(30 * time.Second)
		assert.Empty(t, said(), "nothing has come")
		for range 49 {
			show(progress.Event{Kind: progress.Read, Blob: blob, Bytes: 1e6})
		}
		show(progress.Event{Kind: progress.Finished, Blob: blob, Size: 60e6})
		assert.Equal(t, "fetched "+short(blob)+" of alpine:3.20 60MB\n", said())
	})
}

// The message of sending again says how far it was.
func TestProgressOfSendingAgain(t *testing.T) {
	var out bytes.Buffer
	show, end := newSending(&out)
	blob := digest.FromString("blob")
	show(progress.Event{Kind: progress.Started, Blob: blob, Size: 80e6})
	show(progress.Event{Kind: progress.Read, Blob: blob, Bytes: 12.3e6})
	show(progress.Event{Kind: progress.Retried, Blob: blob, Err: errors.New("lost")})
	show(progress.Event{Kind: progress.Finished, Blob: blob, Size: 80e6})
	end()
	assert.Equal(t, "trying again after: lost, at 12.3MB of 80MB\nsent "+short(blob)+" 80MB\n", out.String())
}

// Lines say now and then how far sending has come, to a registry or to a daemon.
func TestProgressLinesOfSending(t *testing.T) {
	blob := digest.FromString("blob")
	for name, c := range map[string]struct {
		show          func(io.Writer) (func(progress.Event), func())
		begun, middle string
	}{
		"push": {newSending, "", "sending " + short(blob) + ": 11% of 100MB, 1.1MB/s, 1m21s left\n"},
		"load": {newLoading, "sending 100MB\n", "11% of 100MB, 1.1MB/s, 1m21s left\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				show, end := c.show(&out)
				defer end()
				said := func() string {
					synctest.Wait()
					defer out.Reset()
					return out.String()
				}
				begun := progress.Event{Kind: progress.Planned, Size: 100e6}
				if name == "push" {
					begun = progress.Event{Kind: progress.Started, Blob: blob, Size: 100e6}
				}
				show(begun)
				assert.Equal(t, c.begun, said())
				for range 11 {
					show(progress.Event{Kind: progress.Read, Blob: begun.Blob, Bytes: 1e6})
					time.Sleep(time.Second - time.Millisecond)
				}
				assert.Equal(t, c.middle, said())
				time.Sleep(30 * time.Second)
				assert.Empty(t, said(), "nothing has been sent")
			})
		})
	}
}

// The speed is that of the last seconds, and bytes that are read twice do not
// exceed 100%.
func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(100e6)
		assert.Equal(t, "0% of 100MB", m.String())
		for range 60 {
			time.Sleep(time.Second)
			m.add(1e6)
		}
		assert.Equal(t, "60% of 100MB, 1MB/s, 40s left", m.String())
		time.Sleep(time.Hour)
		assert.Equal(t, "60% of 100MB, 4.15kB/s, 2h40m40s left", m.String())
		m.add(41e6)
		assert.Equal(t, "100%", m.percent())
		assert.Empty(t, m.left())
		unknown := newMeter(-1)
		unknown.add(5)
		assert.Equal(t, "5B", unknown.String())
	})
}

// After a broken connection, users want to know what it costs.
func TestRetriedSaysWhereItGoesOn(t *testing.T) {
	blob, lost := digest.FromString("x"), errors.New("lost")
	assert.Equal(t, "reading "+blob.String()+" on from 12.5MB after: lost", retried(progress.Event{Blob: blob, Offset: 12_500_000, Err: lost}, nil))
	assert.Equal(t, "reading "+blob.String()+" on from 12.5MB of 80MB after: lost", retried(progress.Event{Blob: blob, Offset: 12_500_000, Size: 80e6, Err: lost}, nil))
	assert.Equal(t, "reading "+blob.String()+" again after: lost", retried(progress.Event{Blob: blob, Err: lost}, nil))
}
