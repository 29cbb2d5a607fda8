package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/platform"
)

// usageError is a command line that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// statusError ends slipway with a code of its own: of an app that we ran, or of checks that failed.
type statusError struct {
	code  int
	text  string
	quiet bool // nothing is printed
}

func (e *statusError) Error() string { return e.text }

func asStatus(err error) (*statusError, bool) { return errors.AsType[*statusError](err) }

// interrupted is the cause with which a signal ends a context.
type interrupted struct{ sig syscall.Signal }

func (e *interrupted) Error() string {
	switch e.sig {
	case syscall.SIGINT:
		return "interrupted"
	case syscall.SIGPIPE:
		return "nobody reads the output any more"
	}
	return "ended by signal " + unix.SignalName(e.sig)
}

// exitCode is the spec's code for errors of the engine, 3 for a wrong command line, that of outcome.go for an answer of
// the build service, 128 and the signal's number (130 for Ctrl-C) where a signal ended it, else 1.
func exitCode(ctx context.Context, err error) int {
	if e, ok := errors.AsType[*interrupted](context.Cause(ctx)); ok {
		return 128 + int(e.sig)
	}
	if e, ok := asStatus(err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return 3
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		if code, ok := serviceCode(e); ok {
			return code
		}
	}
	return builder.ExitCode(err)
}

// told is what a user reads of err: after a signal nobody cares what it came upon, unless cleaning up failed too.
func told(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*client.Error](err); ok && ctx.Err() == nil {
		return serviceTold(e)
	}
	cause, ok := errors.AsType[*interrupted](context.Cause(ctx))
	if several, joined := err.(interface{ Unwrap() []error }); !ok || !errors.Is(err, cause) || joined && len(several.Unwrap()) > 1 {
		return err
	}
	return cause
}

// interruptible is a context that a first signal cancels. What runs then cleans up and returns; a second
// signal ends the process at once.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2) // two signals count, however fast they come
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		for first := true; ; {
			select {
			case <-done:
				return
			case s := <-signals:
				sig, _ := s.(syscall.Signal)
				if sig == syscall.SIGPIPE && !unread() {
					continue // a connection broke, which whoever wrote to it is told
				}
				if !first && sig != syscall.SIGPIPE {
					os.Exit(128 + int(sig))
				}
				cancel(&interrupted{sig})
				first = false
			}
		}
	}()
	return ctx, func() { signal.Stop(signals); close(done); cancel(nil) }
}

// unread tells that nobody reads what we print.
func unread() bool {
	fds := []unix.PollFd{{Fd: 1}, {Fd: 2}}
	_, err := unix.Poll(fds, 0)
	const gone = unix.POLLERR | unix.POLLHUP | unix.POLLNVAL
	return err == nil && (fds[0].Revents|fds[1].Revents)&gone != 0
}

// oneLine is an error's text without line breaks.
func oneLine(err error) string {
	var parts []string
	for l := range strings.Lines(err.Error()) {
		if l = strings.TrimSpace(l); l != "" {
			parts = append(parts, l)
		}
	}
	return strings.Join(parts, "; ")
}

// lastLines is the end of what a failed buildpack printed.
func lastLines(err error) []string {
	if e, ok := errors.AsType[*platform.BuildError](err); ok {
		return e.Last
	}
	return nil
}
