package agent

import (
	"runtime"
	"sync"
)

// spare is how many threads the agent has beside those that it began with.
const spare = 6

// spareThreads makes threads and leaves them to the Go runtime, which keeps them. Where a buildpack has as many processes as
// the container may have, there can be no new thread, and a Go program that needs one then dies: the agent has to live, to
// see the build's end.
func spareThreads() {
	var made, over sync.WaitGroup
	made.Add(spare)
	over.Add(1)
	for range spare {
		go func() {
			runtime.LockOSThread() // so that each has one of its own
			defer runtime.UnlockOSThread()
			made.Done()
			over.Wait()
		}()
	}
	made.Wait()
	over.Done()
}
