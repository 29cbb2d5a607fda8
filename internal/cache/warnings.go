package cache

import (
	"fmt"
	"sync"
)

// warnings are kept until somebody asks.
type warnings struct {
	mu   sync.Mutex
	list []string
}

func (w *warnings) warn(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, fmt.Sprintf(format, args...))
}

// Warnings are the misses noticed since the last call, for the user to read.
func (w *warnings) Warnings() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	return list
}
