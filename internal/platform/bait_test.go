package platform

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// BaitFile is a file outside of every store that links in one lead to. It must stay as it is: who follows such a link
// with a write, as root, has any file of the machine.
func BaitFile(t *testing.T) string {
	t.Helper()
	at, want := filepath.Join(t.TempDir(), "bait"), []byte("not of the store\n")
	if err := os.WriteFile(at, want, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		st, serr := os.Lstat(at)
		got, err := os.ReadFile(at)
		if errors.Join(serr, err) != nil || !bytes.Equal(got, want) || st.Mode() != 0o644 {
			t.Errorf("the file that a link leads to was changed: %v %q, %v", st.Mode(), got, errors.Join(serr, err))
		}
	})
	return at
}
