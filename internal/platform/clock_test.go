package platform

import (
	"testing"
	"testing/synctest"
	"time"
)

// A build's time does not run while a person is in its container.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		began, over := time.Now(), make(chan time.Duration, 1)
		c.start(time.Minute, func() { over <- time.Since(began) })
		time.Sleep(20 * time.Second)
		c.hold()
		time.Sleep(time.Hour)
		c.release()
		if took := <-over; took != time.Hour+time.Minute {
			t.Errorf("over after %v", took)
		}
		c.hold()
		c.stop()
		c.release()
		time.Sleep(time.Hour)
		if len(over) > 0 {
			t.Error("a clock that was stopped went on")
		}
	})
	var none clock // no limit
	none.hold()
	none.release()
	none.stop()
}
