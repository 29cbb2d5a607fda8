package oci

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNeverMap: a kernel that refuses user namespaces is asked once; a full disk says nothing about the next container.
func TestNeverMap(t *testing.T) {
	for err, remembered := range map[error]bool{unix.EINVAL: true, unix.EPERM: true, unix.ENOSPC: false, unix.EMFILE: false} {
		r := &Runtime{}
		if got := r.neverMap(fmt.Errorf("make it: %w", err)); got == nil {
			t.Errorf("%v is lost", err)
		}
		if (r.cannotMap() != nil) != remembered {
			t.Errorf("%v: afterwards it says %v", err, r.cannotMap())
		}
	}
}
