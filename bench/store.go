//go:build linux

package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

// serveStore serves the data like an object store, as far as reading needs that: the bucket "data" has the archive
// packed.tar, and /blobs/ has the blobs of the layout. The second argument limits all clients together to so many MiB
// a second; 0 is no limit. It writes its address to the file of the third argument.
func serveStore(ctx context.Context, args []string) error {
	address, file := args[0], args[2]
	rate, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	listener, err := network{sum: rate << 20}.listen(address)
	if err != nil {
		return err
	}
	data := os.Getenv("DATA")
	mux := http.NewServeMux()
	mux.Handle("/blobs/", http.FileServer(http.Dir(filepath.Join(data, "oci"))))
	mux.HandleFunc("/data/packed.tar", func(w http.ResponseWriter, r *http.Request) {
		path := filepath.Join(data, "packed.tar")
		info, err := os.Stat(path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, info.ModTime().UnixNano()))
		http.ServeFile(w, r, path)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_ = xml.NewEncoder(w).Encode(struct {
			XMLName xml.Name `xml:"Error"`
			Code    string
		}{Code: "NoSuchKey"}) // It fails only if the client is gone.
	})
	server := &http.Server{Handler: mux}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // It has only been read.
	if err := os.WriteFile(file+".new", []byte(listener.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// serveStored serves the archive in a store that sends rate MiB a second, with an empty cache.
func serveStored(rate string) side {
	return side{run: read("layers", "/v2/app/"+kind("layers")+"/"), server: `rm -rf $TMPDIR/store $TMPDIR/cache
bench store ` + anyPort + ` ` + rate + ` $TMPDIR/store & store=$!
while [ ! -s $TMPDIR/store ]; do kill -0 $store; sleep 0.01; done
export AWS_ENDPOINT_URL=http://$(cat $TMPDIR/store) AWS_REGION=us-east-1 AWS_NO_SIGN_REQUEST=true
docker-archive serve -q --listen $ADDRESS --cache $TMPDIR/cache s3://data/packed.tar & serve=$!
trap 'kill $serve; wait $serve; kill $store; wait $store || true; exit 0' TERM
wait $serve`}
}

// warm reads everything once before the measurement.
func warm(s side) side {
	s.prepare = s.run
	return s
}

// line reads all blobs of the store once, as fast as the store sends them.
func line(rate string) side {
	return side{run: "bench read $ADDRESS /blobs/sha256/ 1 layers", server: "exec bench store $ADDRESS " + rate + " $TMPDIR/store"}
}
