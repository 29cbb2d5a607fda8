package secret

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestBox(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	b, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("key has mode %v, %v; want 0600", fi.Mode(), err)
	}
	sealed, err := b.Seal("app-a/TOKEN", []byte("s3cret-value"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("s3cret")) {
		t.Error("the sealed value holds the secret")
	}
	again, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open("app-a/TOKEN", sealed); err != nil || string(got) != "s3cret-value" {
		t.Errorf("Open = %q, %v", got, err)
	}
	if _, err := again.Open("app-b/TOKEN", sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("opened for another name: %v", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if got, err := again.Open("app-a/TOKEN", bad); err == nil && string(got) != "s3cret-value" {
			t.Fatalf("byte %d changed: opened as %q", i, got)
		}
	}
	other, err := Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open("app-a/TOKEN", sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("opened with another key: %v", err)
	}
}

func TestBadKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	for _, text := range []string{"", "# nothing\n", "AGE-SECRET-KEY-1XYZ\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(file); err == nil {
			t.Errorf("a key file with %q was accepted", text)
		}
	}
}
