// Package containerd puts images into a namespace of containerd: it is a content store for
// copying.LoadContent. It talks to containerd's API, and uses only calls that containerd
// 1.6 has. It is a package of its own so that programs that do not need gRPC do not link
// it.
package containerd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// The defaults are those of containerd's own clients.
const (
	DefaultAddress     = "/run/containerd/containerd.sock"
	DefaultNamespace   = "default"
	defaultSnapshotter = "overlayfs"
	// snapshotterLabel is where a namespace says what its snapshotter is.
	snapshotterLabel = "containerd.io/defaults/snapshotter"
)

const (
	// maxMessage is the size in bytes of the largest message of containerd's.
	maxMessage = 16 << 20
	// leaseTime is how long containerd keeps the sent content if this program dies.
	leaseTime = 24 * time.Hour
	// cleanupTime bounds how long containerd may take to forget content that is not
	// needed.
	cleanupTime = 10 * time.Second
)

// Config says where a containerd is; the zero value is the usual one.
type Config struct {
	// Address is the path of its socket, by default DefaultAddress.
	Address string
	// Namespace is by default DefaultNamespace.
	Namespace string
	// Snapshotter keeps the unpacked layers. By default it is that of the namespace or
	// else overlayfs.
	Snapshotter string
}

// Store is a namespace of a containerd. It keeps everything that it was asked for and
// had, and everything that was sent, until Close, whatever else happens there. Its
// methods may be called concurrently.
type Store struct {
	conn        *grpc.ClientConn
	namespace   string
	lease       string
	snapshotter string

	content   contentapi.ContentClient
	diff      diffapi.DiffClient
	images    imagesapi.ImagesClient
	leases    leasesapi.LeasesClient
	snapshots snapshotsapi.SnapshotsClient
}

// Open connects to a containerd. The store must be closed.
func Open(ctx context.Context, config Config) (*Store, error) {
	if config.Address == "" {
		config.Address = DefaultAddress
	}
	if config.Namespace == "" {
		config.Namespace = DefaultNamespace
	}
	path := strings.TrimPrefix(config.Address, "unix://")
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd at %s: %w", path, err)
	}
	s := &Store{
		conn: conn, namespace: config.Namespace, snapshotter: config.Snapshotter,
		content: contentapi.NewContentClient(conn), diff: diffapi.NewDiffClient(conn),
		images: imagesapi.NewImagesClient(conn), leases: leasesapi.NewLeasesClient(conn),
		snapshots: snapshotsapi.NewSnapshotsClient(conn),
	}
	if err := s.begin(ctx); err != nil {
		_ = conn.Close() // Nothing was done yet.
		return nil, fmt.Errorf("containerd at %s: %w", path, err)
	}
	return s, nil
}

// begin takes a lease and finds the snapshotter.
func (s *Store) begin(ctx context.Context) error {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // It never fails.
	lease := "docker-archive-" + hex.EncodeToString(id)
	_, err := s.leases.Create(s.with(ctx), &leasesapi.CreateRequest{
		ID: lease, Labels: map[string]string{"containerd.io/gc.expire": time.Now().Add(leaseTime).UTC().Format(time.RFC3339)},
	})
	if err != nil {
		return fmt.Errorf("taking a lease in the namespace %q: %w", s.namespace, native(err))
	}
	s.lease = lease
	if s.snapshotter != "" {
		return nil
	}
	s.snapshotter = defaultSnapshotter
	told, err := namespacesapi.NewNamespacesClient(s.conn).Get(s.with(ctx), &namespacesapi.GetNamespaceRequest{Name: s.namespace})
	if err == nil && told.GetNamespace().GetLabels()[snapshotterLabel] != "" {
		s.snapshotter = told.GetNamespace().GetLabels()[snapshotterLabel]
	}
	return nil
}

// Close gives up content that no image needs, and ends the connection.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	_, err := s.leases.Delete(s.with(ctx), &leasesapi.DeleteRequest{ID: s.lease})
	if closeErr := s.conn.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("leaving containerd: %w", native(err))
	}
	return nil
}

// with says for whom a request is.
func (s *Store) with(ctx context.Context) context.Context {
	ctx = metadata.AppendToOutgoingContext(ctx, "containerd-namespace", s.namespace)
	if s.lease != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "containerd-lease", s.lease)
	}
	return ctx
}

// native returns containerd's error without the words of gRPC.
func native(err error) error { return errgrpc.ToNative(err) }

// Has reports whether there is a blob, and keeps it then.
func (s *Store) Has(ctx context.Context, d digest.Digest) (bool, error) {
	// Keep first, then ask: a blob that is there then does not go away.
	err := s.keep(ctx, "content", d.String())
	if err == nil {
		_, err = s.content.Info(s.with(ctx), &contentapi.InfoRequest{Digest: d.String()})
	}
	if err = native(err); errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking containerd for blob %s: %w", d, err)
	}
	return true, nil
}

// keep keeps something until the store is closed, if it is there.
func (s *Store) keep(ctx context.Context, kind, id string) error {
	_, err := s.leases.AddResource(s.with(ctx), &leasesapi.AddResourceRequest{ID: s.lease, Resource: &leasesapi.Resource{ID: id, Type: kind}})
	return err
}
