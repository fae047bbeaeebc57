package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/stall"
)

// This file is the only one that calls containers/image by reflection, and that knows names
// of its unexported types. TestContainersImage holds each against the library.

// ranger reads ranges of blobs of a registry. A source of containers/image can do that, with
// its authentication, mirrors and TLS. The method is exported, but has a parameter of an
// internal type, which no interface of ours can have. So it is called by reflection, if it
// still looks like this:
//
//	GetBlobAt(context.Context, types.BlobInfo, []struct{ Offset, Length uint64 }) (chan io.ReadCloser, chan error, error)
type ranger struct{ method reflect.Value }

// newRanger returns a reader of ranges of src, or nil.
func newRanger(src types.ImageSource) *ranger {
	src = named(src)
	supports, ok := src.(interface{ SupportsGetBlobAt() bool })
	if !ok || !supports.SupportsGetBlobAt() {
		return nil
	}
	method := reflect.ValueOf(src).MethodByName("GetBlobAt")
	if !method.IsValid() || !isRanger(method.Type()) {
		return nil
	}
	return &ranger{method}
}

func isRanger(t reflect.Type) bool {
	if t.NumIn() != 3 || t.NumOut() != 3 || t.IsVariadic() ||
		t.In(0) != reflect.TypeFor[context.Context]() || t.In(1) != reflect.TypeFor[types.BlobInfo]() ||
		t.Out(0) != reflect.TypeFor[chan io.ReadCloser]() || t.Out(1) != reflect.TypeFor[chan error]() || t.Out(2) != reflect.TypeFor[error]() {
		return false
	}
	chunks := t.In(2)
	if chunks.Kind() != reflect.Slice || chunks.Elem().Kind() != reflect.Struct || chunks.Elem().NumField() != 2 {
		return false
	}
	for i, name := range []string{"Offset", "Length"} {
		field := chunks.Elem().Field(i)
		if field.Name != name || field.Type.Kind() != reflect.Uint64 {
			return false
		}
	}
	return true
}

// open returns a range of a blob, which may turn out to be cut out of all of it.
func (r *ranger) open(ctx context.Context, info types.BlobInfo, offset, length uint64) (*rangeBody, error) {
	ctx, cancel := context.WithCancel(ctx)
	chunks := reflect.MakeSlice(r.method.Type().In(2), 1, 1)
	chunks.Index(0).Field(0).SetUint(offset)
	chunks.Index(0).Field(1).SetUint(length)
	results := r.method.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(info), chunks})
	if err, _ := results[2].Interface().(error); err != nil {
		cancel()
		if isRefusal(err) {
			err = fmt.Errorf("%w: %w", fetching.ErrNoRanges, err)
		}
		return nil, err
	}
	streams, errs := results[0].Interface().(chan io.ReadCloser), results[1].Interface().(chan error)
	body, err := firstOf(ctx, streams, errs)
	go drain(streams, errs) // Their senders must not wait for ever.
	if err != nil {
		cancel()
		return nil, err
	}
	return &rangeBody{ReadCloser: body, cancel: cancel}, nil
}

// firstOf returns the first stream. A part of a blob is there with the answer's header; an answer with all of it is
// read up to the range first, which may take any time, and nobody sees whether it moves.
func firstOf(ctx context.Context, streams chan io.ReadCloser, errs chan error) (io.ReadCloser, error) {
	late := time.After(stall.Silence / 2)
	for streams != nil || errs != nil {
		select {
		case body, ok := <-streams:
			if ok {
				return body, nil
			}
			streams = nil
		case err, ok := <-errs:
			if ok {
				return nil, err
			}
			errs = nil
		case <-late:
			return nil, fmt.Errorf("%w: the registry answers with the whole of it", fetching.ErrNoRanges)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return nil, fmt.Errorf("no range came: %w", io.ErrUnexpectedEOF)
}

func drain(streams chan io.ReadCloser, errs chan error) {
	for streams != nil || errs != nil {
		select {
		case body, ok := <-streams:
			if ok {
				body.Close() // Nobody wants it.
			} else {
				streams = nil
			}
		case _, ok := <-errs:
			if !ok {
				errs = nil
			}
		}
	}
}

// rangeBody ends its request when it is closed, instead of reading on.
type rangeBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close closes the body.
func (b *rangeBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}

// isRange reports whether a body is all of an answer of 206: net/http's own then. Other
// bodies are containers/image's. They are cut out of an answer of 200, whose bytes before
// the range have been thrown away, or out of an answer in parts. A registry that gives those
// is read as if it had no ranges. It does not matter what containers/image calls its types.
func isRange(body io.ReadCloser) bool {
	t := reflect.TypeOf(body)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath() == "net/http" || strings.HasPrefix(t.PkgPath(), "net/http/") || strings.HasSuffix(t.PkgPath(), "golang.org/x/net/http2")
}

// isRefusal reports whether an error is containers/image's internal one for an answer
// of 400.
func isRefusal(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if reflect.TypeOf(err).Name() == "BadPartialRequestError" {
			return true
		}
	}
	return false
}

// OnlySimpleSignatures reports whether an image and its instances have signatures in
// the format of types.ImageSource only. copy.Image reads others by a method with a
// result of an internal type, which a source of ours cannot have.
func OnlySimpleSignatures(ctx context.Context, src types.ImageSource, instances []*digest.Digest) bool {
	method := reflect.ValueOf(src).MethodByName("GetSignaturesWithFormat")
	if !method.IsValid() {
		return true // They would not have been seen before either.
	}
	if !isSignatureGetter(method.Type()) {
		return false
	}
	for _, instance := range instances {
		results := method.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(instance)})
		if !results[1].IsNil() {
			return false // copy.Image says why.
		}
		for i := range results[0].Len() {
			if signature := results[0].Index(i).Elem(); !signature.IsValid() || signature.Type().Name() != "SimpleSigning" {
				return false
			}
		}
	}
	return true
}

func isSignatureGetter(t reflect.Type) bool {
	return t.NumIn() == 2 && t.NumOut() == 2 && !t.IsVariadic() &&
		t.In(0) == reflect.TypeFor[context.Context]() && t.In(1) == reflect.TypeFor[*digest.Digest]() &&
		t.Out(0).Kind() == reflect.Slice && t.Out(0).Elem().Kind() == reflect.Interface && t.Out(1) == reflect.TypeFor[error]()
}
