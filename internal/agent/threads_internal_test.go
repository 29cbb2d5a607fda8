package agent

import (
	"os"
	"testing"
)

// TestSpareThreads: the threads are there still when what made them is over.
func TestSpareThreads(t *testing.T) {
	spareThreads()
	all, err := os.ReadDir("/proc/self/task")
	if err != nil || len(all) < spare {
		t.Errorf("%d threads, %v", len(all), err)
	}
}
