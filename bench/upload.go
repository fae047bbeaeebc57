//go:build linux

package main

import (
	"context"
	"os"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// upload sends a file to a bucket as AWS's own library does by default.
func upload(ctx context.Context, args []string) error {
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := s3.NewFromConfig(settings, func(o *s3.Options) { o.UsePathStyle = true })
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer file.Close() // It has only been read.
	_, err = transfermanager.New(client).UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: &args[1], Key: &args[2], Body: file})
	return err
}

// bucket has a side write to the bucket "images" of a store on this machine.
func bucket(run string) side {
	const account = "export AWS_ENDPOINT_URL=http://$ADDRESS AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=bench-secret\n"
	return side{run: account + run, server: `rm -rf $TMPDIR/store $TMPDIR/metadata; mkdir -p $TMPDIR/store/images $TMPDIR/metadata
exec versitygw --port $ADDRESS --access bench --secret bench-secret --quiet --keep-alive posix --sidecar $TMPDIR/metadata $TMPDIR/store`}
}
