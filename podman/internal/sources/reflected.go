package sources

import (
	"context"
	"reflect"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"
)

// This file is the only one that calls containers/image by reflection, and that knows names
// of its unexported types. TestContainersImage holds each against the library.

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
