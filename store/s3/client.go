package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/internal/webclient"
)

const (
	// noSignRequest is an environment variable. If it is true, requests are not signed: for buckets that everybody
	// may read.
	noSignRequest = "AWS_NO_SIGN_REQUEST"
	// anyRegion is used for stores without regions. At AWS, this region also tells the region of any other bucket.
	anyRegion = "us-east-1"
)

// bucketClient asks one bucket. It may be used concurrently.
type bucketClient struct {
	*s3.Client
	transport *http.Transport
	bucket    string
	policy    retry.Policy
}

// newClient returns a client for a bucket. Endpoint, region and credentials are those of the AWS tools. It repeats
// no request: the caller does, by policy, with errors that failed has translated. A request that stalls ends by
// itself. The caller must call close.
func newClient(ctx context.Context, bucket string, access input.Access) (*bucketClient, error) {
	settings, err := loadSettings(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the settings of AWS: %w", err)
	}
	c := &bucketClient{bucket: bucket, policy: policy}
	if access.Retries > 0 {
		c.policy.Times = access.Retries
	}
	noRegion := settings.Region == ""
	if noRegion {
		settings.Region = anyRegion
	}
	c.Client = s3.NewFromConfig(settings, func(o *s3.Options) {
		if c.transport, err = newTransport(o.HTTPClient, access); err != nil {
			return
		}
		o.HTTPClient = stall.Client{HTTP: &http.Client{Transport: webclient.Counted{RoundTripper: c.transport}, CheckRedirect: stay}}
		o.Retryer = aws.NopRetryer{}
		o.Logger = logging.Nop{}
		o.UsePathStyle = o.BaseEndpoint != nil
		// A range has no checksum of its own; the digests of its content are verified.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		if access.UserAgent != "" {
			o.APIOptions = append(o.APIOptions, middleware.AddUserAgentKey(access.UserAgent))
		}
	})
	if err != nil {
		return nil, err
	}
	if noRegion && c.Options().BaseEndpoint == nil {
		region := regionOf(ctx, c.Client, bucket)
		c.Client = s3.New(c.Options(), func(o *s3.Options) { o.Region = region })
	}
	return c, nil
}

// close ends the idle connections.
func (c *bucketClient) close() { c.transport.CloseIdleConnections() }

// loadSettings reads the environment and the shared files, and finds the source of credentials.
func loadSettings(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{config.WithLogger(logging.Nop{})} // Errors say it.
	if value := os.Getenv(noSignRequest); value != "" {
		anonymous, err := strconv.ParseBool(value)
		if err != nil {
			return aws.Config{}, fmt.Errorf("%s is %q, and neither true nor false", noSignRequest, value)
		}
		if anonymous {
			options = append(options, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
		}
	}
	return config.LoadDefaultConfig(ctx, options...)
}

// newTransport returns the transport of the SDK's client, which has the certificates of AWS_CA_BUNDLE, and adds those
// of access.
func newTransport(client s3.HTTPClient, access input.Access) (*http.Transport, error) {
	buildable, ok := client.(*awshttp.BuildableClient)
	if !ok {
		return webclient.Transport(access.CertDir, access.SkipVerify)
	}
	transport := buildable.GetTransport()
	return transport, webclient.Configure(transport, access.CertDir, access.SkipVerify)
}

// stay follows no redirection: a signature is valid for one host, and AWS redirects only to buckets in other regions.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// regionOf returns the region of a bucket, which AWS tells everybody, or anyRegion.
func regionOf(ctx context.Context, client *s3.Client, bucket string) string {
	answer, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket}, func(o *s3.Options) {
		o.Credentials = aws.AnonymousCredentials{}
	})
	if err == nil && answer.BucketRegion != nil {
		return *answer.BucketRegion
	}
	var refused *awshttp.ResponseError
	if errors.As(err, &refused) && refused.Response != nil {
		if region := refused.Response.Header.Get(regionHeader); region != "" {
			return region
		}
	}
	return anyRegion // The next request reports the error.
}
