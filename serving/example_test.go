package serving_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/dockerarchive/dockerarchive/serving"
)

// Serve archives beside other things.
func Example() {
	archives, err := serving.New(context.Background(), []string{"../testdata/archives/docker29.tar"}, serving.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer archives.Close()
	mux := http.NewServeMux()
	mux.Handle("/v2/", archives)
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/", nil))
	fmt.Println(w.Code)
	// Output: 200
}
