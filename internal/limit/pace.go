package limit

import "time"

// slowest is how many bytes a second a body must have on average, once its grace is over: one that only keeps from
// stalling would hold its connection for days.
const slowest = 1 << 10

// A Pace is how a body has to come: something within Stall, and after as long of grace not less than 1 KiB/s over all. Only
// the time counts in which we wait for it. It is not safe for concurrent use.
type Pace struct {
	Stall time.Duration

	waited time.Duration
	n      int64
}

// Deadline is when what is read now must have come.
func (p *Pace) Deadline() time.Time {
	left := p.Stall + time.Duration(p.n/slowest)*time.Second - p.waited
	return time.Now().Add(min(p.Stall, max(left, 0)))
}

// Came says that n bytes came, for which we have waited since then.
func (p *Pace) Came(n int, since time.Time) {
	p.n += int64(n)
	p.waited += time.Since(since)
}
