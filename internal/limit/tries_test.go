package limit

import (
	"net/http/httptest"
	"testing"
)

func TestTries(t *testing.T) {
	tries := NewTries(2, nil)
	one, other := httptest.NewRequest("GET", "/", nil), httptest.NewRequest("GET", "/", nil)
	other.RemoteAddr = "198.51.100.7:1"
	for range 2 {
		if wait := tries.Wait(one); wait > 0 {
			t.Errorf("it waits %v too early", wait)
		}
		tries.Failed(one)
	}
	if tries.Wait(one) == 0 {
		t.Error("a third try")
	}
	if tries.Wait(other) > 0 {
		t.Error("another address waits")
	}
	if NewTries(0, nil).Wait(one) > 0 {
		t.Error("0 is not any number")
	}
}
