package platform

import "context"

// A background is something that goes on beside the phases. What it sets may be read after wait or end.
type background struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func inBackground(ctx context.Context, run func(context.Context) error) *background {
	ctx, cancel := context.WithCancel(ctx)
	b := &background{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		b.err = run(ctx)
	}()
	return b
}

func (b *background) wait() error {
	<-b.done
	return b.err
}

// ended says, without waiting, whether what it sets may be read.
func (b *background) ended() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// end cancels it and returns when it has ended.
func (b *background) end() {
	b.cancel()
	<-b.done
}
