package layerstore_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/layerstore"
)

func TestReadAhead(t *testing.T) {
	text := strings.Repeat("what a layer holds, again and again\n", 100_000)
	var packed bytes.Buffer
	z := layerstore.NewEncoder(&packed)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, blob := range map[string]string{"gzip": packed.String(), "plain": text} {
		r, err := layerstore.NewReadAhead(strings.NewReader(blob))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != text {
			t.Errorf("%s: read %d bytes, %v; want %d", name, len(got), err, len(text))
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
	t.Run("damaged", func(t *testing.T) {
		blob := packed.Bytes()
		blob[len(blob)/2] ^= 0x10
		r, err := layerstore.NewReadAhead(bytes.NewReader(blob))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := io.Copy(io.Discard, r); err == nil {
			t.Error("a damaged layer was read to its end")
		}
	})
	t.Run("closed early", func(t *testing.T) {
		r, err := layerstore.NewReadAhead(bytes.NewReader(packed.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 10)); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}
