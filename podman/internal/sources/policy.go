package sources

import (
	"context"

	"go.podman.io/image/v5/types"
)

// UnderPolicy returns an image to which the signature policy for another reference
// applies, by which the user has named it.
func UnderPolicy(ref, given types.ImageReference) types.ImageReference {
	return underPolicy{ImageReference: ref, given: given}
}

type underPolicy struct {
	types.ImageReference
	given types.ImageReference
}

// Transport is that of the other reference.
func (r underPolicy) Transport() types.ImageTransport { return r.given.Transport() }

// PolicyConfigurationIdentity is that of the other reference.
func (r underPolicy) PolicyConfigurationIdentity() string {
	return r.given.PolicyConfigurationIdentity()
}

// PolicyConfigurationNamespaces are those of the other reference.
func (r underPolicy) PolicyConfigurationNamespaces() []string {
	return r.given.PolicyConfigurationNamespaces()
}

// NewImageSource returns a source that knows itself by r.
func (r underPolicy) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	src, err := r.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return sourceUnderPolicy{src, r}, nil
}

type sourceUnderPolicy struct {
	types.ImageSource
	ref underPolicy
}

// Reference returns the reference that the policy is asked about.
func (s sourceUnderPolicy) Reference() types.ImageReference { return s.ref }

// named returns a source as its own transport opened it.
func named(src types.ImageSource) types.ImageSource {
	if renamed, ok := src.(sourceUnderPolicy); ok {
		return renamed.ImageSource
	}
	return src
}
