package main

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"
)

// TestBrokenConnection: a connection that breaks while we write sends the signal that an output without a reader does.
// It ends nothing; what is sent after it does.
func TestBrokenConnection(t *testing.T) {
	ctx, stop := interruptible(t.Context())
	defer stop()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Close(fds[1]); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fds[0]) }()
	if _, err := syscall.Write(fds[0], []byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("the write: %v", err)
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("SIGTERM ended nothing")
	}
	if e, ok := errors.AsType[*interrupted](context.Cause(ctx)); !ok || e.sig != syscall.SIGTERM {
		t.Errorf("ended by %v", context.Cause(ctx))
	}
}
