// Package limit keeps one client from taking what the others need: of requests (Guard) and of connections (Listener). It
// knows addresses and tokens, and nothing of what is asked for; what it keeps in memory is bounded, and a restart forgets
// it.
package limit

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// mostKeys is how many buckets there are at most. Whose bucket was not used for longest loses it, and begins with a full
// one when it comes again.
const mostKeys = 1 << 14

// buckets are token buckets by key, each as large as a minute's worth. nil is none: everything may be taken. It is safe
// for concurrent use.
type buckets struct {
	perMinute int
	now       func() time.Time

	mu   sync.Mutex
	all  map[string]*list.Element // of *bucket
	used *list.List               // the one that was used last in front
}

type bucket struct {
	key string
	*rate.Limiter
}

func newBuckets(perMinute int) *buckets {
	if perMinute <= 0 {
		return nil
	}
	return &buckets{perMinute: perMinute, now: time.Now, all: map[string]*list.Element{}, used: list.New()}
}

// A level is how full a bucket is.
type level struct {
	limited bool
	left    int
	wait    time.Duration // until one can be taken; 0: now
}

// take takes one, where there is one.
func (b *buckets) take(key string) level { return b.look(key, 1) }

// level takes none.
func (b *buckets) level(key string) level { return b.look(key, 0) }

func (b *buckets) look(key string, n int) level {
	if b == nil {
		return level{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l, now := b.of(key), b.now()
	there := l.TokensAt(now)
	if there < 1 {
		perToken := time.Minute / time.Duration(b.perMinute)
		return level{limited: true, wait: max(time.Duration((1-there)*float64(perToken)), time.Millisecond)}
	}
	l.AllowN(now, n)
	return level{limited: true, left: int(there) - n}
}

// of finds a key's bucket, with the lock held.
func (b *buckets) of(key string) *rate.Limiter {
	if e, ok := b.all[key]; ok {
		b.used.MoveToFront(e)
		return e.Value.(*bucket).Limiter
	}
	if len(b.all) >= mostKeys {
		last := b.used.Back()
		delete(b.all, last.Value.(*bucket).key)
		b.used.Remove(last)
	}
	l := rate.NewLimiter(rate.Limit(float64(b.perMinute)/60), b.perMinute)
	b.all[key] = b.used.PushFront(&bucket{key, l})
	return l
}

// A memory is a set of so many keys at most, of which it forgets the one that was added first. It is safe for concurrent
// use.
type memory struct {
	mu    sync.Mutex
	all   map[string]*list.Element
	order *list.List
}

func newMemory() *memory { return &memory{all: map[string]*list.Element{}, order: list.New()} }

func (m *memory) has(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.all[key]
	return ok
}

func (m *memory) add(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.all[key]; ok {
		return
	}
	if len(m.all) >= mostKeys {
		first := m.order.Front()
		delete(m.all, first.Value.(string))
		m.order.Remove(first)
	}
	m.all[key] = m.order.PushBack(key)
}

func (m *memory) remove(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.all[key]; ok {
		delete(m.all, key)
		m.order.Remove(e)
	}
}
