package sources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// UnderPolicy returns an image under the signature policy for another reference, the
// one that the user has given.
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
	for {
		switch wrapped := src.(type) {
		case sourceUnderPolicy:
			src = wrapped.ImageSource
		case typedSource:
			src = wrapped.ImageSource
		default:
			return src
		}
	}
}

// SystemPolicy returns the signature policy of this system, which accepts everything if the
// system has none and sys names none.
func SystemPolicy(sys *types.SystemContext) (*signature.PolicyContext, error) {
	policy, err := signature.DefaultPolicy(sys)
	if named := sys != nil && sys.SignaturePolicyPath != ""; isNoPolicy(err) && !named {
		policy, err = &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the signature policy: %w", err)
	}
	return signature.NewPolicyContext(policy)
}

// isNoPolicy reports whether an error says that the system has no policy.
// containers/image has no type for that, only words.
func isNoPolicy(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || err != nil && strings.Contains(err.Error(), "no policy.json file found")
}
