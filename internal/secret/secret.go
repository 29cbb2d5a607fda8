// Package secret seals values at rest with age. A sealed value opens only under the name that it was sealed for, so
// that a row copied to another app does not decrypt.
package secret

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

// A Box seals and opens values with one key. It is safe for concurrent use.
type Box struct {
	identity *age.X25519Identity
}

// ErrSealed tells that a value cannot be opened: it was sealed with another key, for another name, or is damaged.
var ErrSealed = errors.New("the sealed value does not open: another key, another name, or damage")

// Open reads the key in a file, which is made with mode 0600 if it is not there.
func Open(file string) (*Box, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return create(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of secrets: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			return nil, fmt.Errorf("key of secrets %s: it is no age key (AGE-SECRET-KEY-1...): restore it from a backup", file)
		}
		return &Box{id}, nil
	}
	return nil, fmt.Errorf("key of secrets %s: it has no key: restore it from a backup", file)
}

// create makes a key. It is in its place whole or not at all.
func create(file string) (*Box, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make the key of secrets: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".key-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("make the key of secrets: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintf(f, "# The key of Slipway's secrets. Without it config vars and credentials are lost.\n# public key: %s\n%s\n", id.Recipient(), id)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), file) // fails where another process was first
	}
	if errors.Is(err, fs.ErrExist) {
		return Open(file)
	}
	if err == nil {
		err = syncDir(filepath.Dir(file))
	}
	if err != nil {
		return nil, fmt.Errorf("make the key of secrets: %w", err)
	}
	return &Box{id}, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Seal encrypts a value for a name, which is authenticated but not kept.
func (b *Box) Seal(name string, value []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, b.identity.Recipient())
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	bound := sha256.Sum256([]byte(name))
	_, err = w.Write(append(bound[:], value...))
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return out.Bytes(), nil
}

// Open decrypts what Seal made for the same name; the error is ErrSealed.
func (b *Box) Open(name string, sealed []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), b.identity)
	if err != nil {
		return nil, ErrSealed
	}
	plain, err := io.ReadAll(r)
	bound := sha256.Sum256([]byte(name))
	if err != nil || len(plain) < len(bound) || !bytes.Equal(plain[:len(bound)], bound[:]) {
		return nil, ErrSealed
	}
	return plain[len(bound):], nil
}
