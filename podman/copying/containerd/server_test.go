package containerd_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	apitypes "github.com/containerd/containerd/api/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/manifest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dockerarchive/dockerarchive/podman/copying/containerd"
)

// server answers as containerd does, from memory.
type server struct {
	mu        sync.Mutex
	blobs     map[string][]byte
	labels    map[string]map[string]string
	kept      map[string]bool
	leases    map[string]bool
	images    map[string]string
	snapshots map[string]string // names and keys by their parents
	sent      int               // bytes
	aborted   []string
	diffID    string // that layers turn out to have
	raced     bool   // another client is faster with every snapshot

	// writing, if not nil, is asked before each request that writes.
	writing func(context.Context, *contentapi.WriteContentRequest) error
	stop    func()
	asked   map[string]bool // methods
	fault   string          // the method that fails
	code    codes.Code      // with this
}

// The services have methods of the same names.
type (
	content struct {
		contentapi.UnimplementedContentServer
		*server
	}
	diff struct {
		diffapi.UnimplementedDiffServer
		*server
	}
	images struct {
		imagesapi.UnimplementedImagesServer
		*server
	}
	leases struct {
		leasesapi.UnimplementedLeasesServer
		*server
	}
	snapshots struct {
		snapshotsapi.UnimplementedSnapshotsServer
		*server
	}
)

func start(t *testing.T) (*server, *containerd.Store) {
	t.Helper()
	s := &server{asked: map[string]bool{}, blobs: map[string][]byte{}, labels: map[string]map[string]string{}, kept: map[string]bool{}, leases: map[string]bool{}, images: map[string]string{}, snapshots: map[string]string{}}
	dir, err := os.MkdirTemp("", "containerd") // The paths of sockets are short.
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	g := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		assert.Equal(t, []string{"space"}, md.Get("containerd-namespace"))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked[info.FullMethod] = true
		if info.FullMethod == s.fault {
			return nil, status.Error(s.code, "it is ill")
		}
		return handle(ctx, request)
	}))
	contentapi.RegisterContentServer(g, content{server: s})
	diffapi.RegisterDiffServer(g, diff{server: s})
	imagesapi.RegisterImagesServer(g, images{server: s})
	leasesapi.RegisterLeasesServer(g, leases{server: s})
	snapshotsapi.RegisterSnapshotsServer(g, snapshots{server: s})
	s.stop = g.Stop
	var serving sync.WaitGroup
	serving.Go(func() { assert.NoError(t, g.Serve(listener)) })
	t.Cleanup(func() { g.Stop(); serving.Wait() })
	store, err := containerd.Open(t.Context(), containerd.Config{Address: "unix://" + socket, Namespace: "space"})
	require.NoError(t, err)
	return s, store
}

var notFound = status.Error(codes.NotFound, "it is not there: not found")

func (s content) Info(_ context.Context, r *contentapi.InfoRequest) (*contentapi.InfoResponse, error) {
	if _, ok := s.blobs[r.Digest]; !ok {
		return nil, notFound
	}
	return &contentapi.InfoResponse{Info: &contentapi.Info{Digest: r.Digest, Size: int64(len(s.blobs[r.Digest]))}}, nil
}

// Read sends a blob in pieces, as it is asked for.
func (s content) Read(r *contentapi.ReadContentRequest, stream contentapi.Content_ReadServer) error {
	s.mu.Lock()
	data, ok := s.blobs[r.Digest]
	s.mu.Unlock()
	if !ok || s.fault == "Read" {
		return notFound
	}
	for piece := range slices.Chunk(data[r.Offset:r.Offset+r.Size], 1000) {
		if err := stream.Send(&contentapi.ReadContentResponse{Data: piece}); err != nil {
			return err
		}
	}
	return nil
}

func (s content) Update(_ context.Context, r *contentapi.UpdateRequest) (*contentapi.UpdateResponse, error) {
	if s.labels[r.Info.Digest] == nil {
		s.labels[r.Info.Digest] = map[string]string{}
	}
	for _, path := range r.UpdateMask.Paths {
		key := strings.TrimPrefix(path, "labels.")
		s.labels[r.Info.Digest][key] = r.Info.Labels[key]
	}
	return &contentapi.UpdateResponse{Info: r.Info}, nil
}

func (s content) Abort(_ context.Context, r *contentapi.AbortRequest) (*emptypb.Empty, error) {
	s.aborted = append(s.aborted, r.Ref)
	return &emptypb.Empty{}, nil
}

func (s content) Write(stream contentapi.Content_WriteServer) error {
	var got []byte
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.take(stream.Context(), r, &got); err != nil {
			return err
		}
		if err := stream.Send(&contentapi.WriteContentResponse{Action: r.Action, Offset: int64(len(got))}); err != nil {
			return err
		}
	}
}

func (s *server) take(ctx context.Context, r *contentapi.WriteContentRequest, got *[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing != nil {
		if err := s.writing(ctx, r); err != nil {
			return err
		}
	}
	if _, ok := s.blobs[r.Expected]; ok {
		return status.Error(codes.AlreadyExists, "it is there: already exists")
	}
	*got = append(*got, r.Data...)
	s.sent += len(r.Data)
	if r.Action != contentapi.WriteAction_COMMIT {
		return nil
	}
	if d := digest.FromBytes(*got); d.String() != r.Expected || int64(len(*got)) != r.Total {
		return status.Errorf(codes.FailedPrecondition, "unexpected commit digest %s: failed precondition", d)
	}
	s.blobs[r.Expected] = *got
	return nil
}

func (s images) Get(_ context.Context, r *imagesapi.GetImageRequest) (*imagesapi.GetImageResponse, error) {
	d := s.images[r.Name]
	if d == "" {
		return nil, notFound
	}
	kind := manifest.GuessMIMEType(s.blobs[d])
	return &imagesapi.GetImageResponse{Image: &imagesapi.Image{Name: r.Name, Target: &apitypes.Descriptor{Digest: d, MediaType: kind}}}, nil
}

func (s images) Create(_ context.Context, r *imagesapi.CreateImageRequest) (*imagesapi.CreateImageResponse, error) {
	if s.images[r.Image.Name] != "" {
		return nil, status.Error(codes.AlreadyExists, "it is there: already exists")
	}
	s.images[r.Image.Name] = r.Image.Target.Digest
	return &imagesapi.CreateImageResponse{Image: r.Image}, nil
}

func (s images) Update(_ context.Context, r *imagesapi.UpdateImageRequest) (*imagesapi.UpdateImageResponse, error) {
	s.images[r.Image.Name] = r.Image.Target.Digest
	return &imagesapi.UpdateImageResponse{Image: r.Image}, nil
}

func (s diff) Apply(context.Context, *diffapi.ApplyRequest) (*diffapi.ApplyResponse, error) {
	return &diffapi.ApplyResponse{Applied: &apitypes.Descriptor{Digest: s.diffID}}, nil
}

func (s leases) Create(_ context.Context, r *leasesapi.CreateRequest) (*leasesapi.CreateResponse, error) {
	s.leases[r.ID] = r.Labels["containerd.io/gc.expire"] != ""
	return &leasesapi.CreateResponse{}, nil
}

func (s leases) Delete(_ context.Context, r *leasesapi.DeleteRequest) (*emptypb.Empty, error) {
	delete(s.leases, r.ID)
	return &emptypb.Empty{}, nil
}

func (s leases) AddResource(_ context.Context, r *leasesapi.AddResourceRequest) (*emptypb.Empty, error) {
	s.kept[r.Resource.Type+" "+r.Resource.ID] = s.leases[r.ID]
	return &emptypb.Empty{}, nil
}

func (s snapshots) Stat(_ context.Context, r *snapshotsapi.StatSnapshotRequest) (*snapshotsapi.StatSnapshotResponse, error) {
	if _, ok := s.snapshots[r.Key]; !ok {
		return nil, notFound
	}
	return &snapshotsapi.StatSnapshotResponse{}, nil
}

func (s snapshots) Prepare(_ context.Context, r *snapshotsapi.PrepareSnapshotRequest) (*snapshotsapi.PrepareSnapshotResponse, error) {
	s.snapshots[r.Key] = r.Parent
	return &snapshotsapi.PrepareSnapshotResponse{}, nil
}

func (s snapshots) Commit(_ context.Context, r *snapshotsapi.CommitSnapshotRequest) (*emptypb.Empty, error) {
	if _, ok := s.snapshots[r.Name]; ok || s.raced {
		return nil, status.Error(codes.AlreadyExists, "it is there: already exists")
	}
	s.snapshots[r.Name] = s.snapshots[r.Key]
	delete(s.snapshots, r.Key)
	return &emptypb.Empty{}, nil
}

func (s snapshots) Remove(_ context.Context, r *snapshotsapi.RemoveSnapshotRequest) (*emptypb.Empty, error) {
	delete(s.snapshots, r.Key)
	return &emptypb.Empty{}, nil
}
