package delta_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/dockerarchive/dockerarchive/delta"
)

func Example() {
	layer := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(text)); err != nil {
			log.Fatal(err)
		}
		if err := w.Close(); err != nil {
			log.Fatal(err)
		}
		return b.Bytes()
	}
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "file %d: %x\n", i, i*i*i)
	}
	january := layer(text.String())
	february := layer("new\n" + text.String())

	// On the side that has
	// both layers:
	ctx := context.Background()
	var file bytes.Buffer
	if _, err := delta.Make(ctx, &file, bytes.NewReader(february), []delta.Source{bytes.NewReader(january)}, nil); err != nil {
		log.Fatal(err)
	}

	// On the side that has
	// only the old one:
	d, err := delta.Open(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		log.Fatal(err)
	}
	var rebuilt bytes.Buffer
	if err := d.Apply(ctx, &rebuilt, []delta.Source{bytes.NewReader(january)}, nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same bytes:", bytes.Equal(february, rebuilt.Bytes()))
	fmt.Println("small:", file.Len() < len(february)/50)
	fmt.Println("needs the base as it was compressed:", d.NeedsCompressedBases())
	// Output:
	// the same bytes: true
	// small: true
	// needs the base as it was compressed: false
}
