package logs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

func open(t *testing.T) *Dir {
	t.Helper()
	return openAt(t, t.TempDir())
}

func openAt(t *testing.T, dir string) *Dir {
	t.Helper()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func create(t *testing.T, d *Dir, id build.ID, o Options) *Writer {
	t.Helper()
	w, err := d.Create(id, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(build.Failed) })
	return w
}

func end(t *testing.T, w *Writer, state build.State) {
	t.Helper()
	if err := w.Close(state); err != nil {
		t.Fatal(err)
	}
}

// content reads a log page by page.
func content(t *testing.T, d *Dir, id build.ID) string {
	t.Helper()
	var b strings.Builder
	for {
		p, err := d.Page(id, int64(b.Len()), 1000)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(p.Data)
		if int64(b.Len()) == p.Size {
			return b.String()
		}
		if len(p.Data) == 0 {
			t.Fatalf("an empty page at %d of %d", b.Len(), p.Size)
		}
	}
}

func TestReplayEqualsLive(t *testing.T) {
	d, id := open(t), build.NewID()
	w := create(t, d, id, Options{Masker: NewMasker("the-secret-of-it"), Limit: 200_000})
	var all sync.WaitGroup
	type follower struct {
		from int64
		got  bytes.Buffer
	}
	followers := make([]*follower, 40)
	follow := func(i int, from int64) {
		f := &follower{from: from}
		followers[i] = f
		all.Go(func() {
			if state, err := d.Follow(t.Context(), id, from, &f.got); state != build.Succeeded || err != nil {
				t.Errorf("a follower from %d on: state %q, %v", from, state, err)
			}
		})
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range followers {
		for range 150 {
			text := fmt.Sprintf("line %d \x1b[32m%x\xff the-secret-of-it\r\n", i, rng.Uint64())
			if rng.IntN(9) == 0 {
				text = strings.Repeat(text, 9)
			}
			at := rng.IntN(len(text))
			fmt.Fprint(w, text[:at])
			fmt.Fprint(w, text[at:])
		}
		info, err := d.Stat(id)
		if err != nil || !info.Writing || info.State != "" {
			t.Fatal(info, err)
		}
		follow(i, rng.Int64N(info.Size+1))
	}
	end(t, w, build.Succeeded)
	all.Wait()
	text := content(t, d, id)
	for _, f := range followers {
		if f.got.String() != text[f.from:] {
			t.Errorf("a follower from %d on got %d bytes, which are not the %d of the log", f.from, f.got.Len(), len(text[f.from:]))
		}
	}
	if strings.Contains(text, "secret") || !strings.Contains(text, "bytes are left out here") || len(text) > 200_000+tailSize+1000 {
		t.Errorf("a log of %d bytes: %.300s ... %s", len(text), text, text[len(text)-200:])
	}
	var again bytes.Buffer // from the file alone
	if state, err := openAt(t, d.root.Name()).Follow(t.Context(), id, 0, &again); state != build.Succeeded || err != nil || again.String() != text {
		t.Errorf("another process reads %d bytes, state %q, %v", again.Len(), state, err)
	}
}

func TestLimit(t *testing.T) {
	const limit = 100_000
	line := func(i int) string { return fmt.Sprintf("line %06d is one of many lines\n", i) }
	for _, c := range []struct {
		lines, at int
		marker    bool
	}{{3000, 1, false}, {3000, 7, false}, {5000, 1, false}, {50_000, 1, true}, {50_000, 997, true}, {50_000, 50_000, true}} {
		d, id := open(t), build.NewID()
		w := create(t, d, id, Options{Limit: limit})
		var all strings.Builder
		for i := 0; i < c.lines; i += c.at {
			var b strings.Builder
			for k := range min(c.at, c.lines-i) {
				b.WriteString(line(i + k))
			}
			all.WriteString(b.String())
			if n, err := fmt.Fprint(w, b.String()); n != b.Len() || err != nil {
				t.Fatal(n, err)
			}
		}
		end(t, w, build.Failed)
		got := content(t, d, id)
		head, rest, full := strings.Cut(got, "--- the log has reached its limit of 100000 bytes")
		_, rest, _ = strings.Cut(rest, "\n")
		if full != (all.Len() > limit) || len(head) > limit || !strings.HasPrefix(all.String(), head) {
			t.Errorf("%+v: %d bytes before the limit, reached: %v", c, len(head), full)
		}
		marker, tail, left := strings.Cut(rest, "left out here ---\n")
		if !left {
			marker, tail = "", rest
		}
		if left != c.marker || !strings.HasSuffix(all.String(), tail) {
			t.Fatalf("%+v: marker %v, then %d bytes: %.100q", c, left, len(tail), tail)
		}
		var missing int
		fmt.Sscanf(marker, "--- %d bytes", &missing)
		if len(head)+missing+len(tail) != all.Len() {
			t.Errorf("%+v: %d bytes, %d left out, %d bytes, of %d", c, len(head), missing, len(tail), all.Len())
		}
		if left && (len(tail) > tailSize || len(tail) < tailSize-100 || !strings.HasPrefix(tail, "line ")) {
			t.Errorf("%+v: a last part of %d bytes, %.50q", c, len(tail), tail)
		}
	}
}

// TestSkip: what somebody else left out counts as if it had been written, and what was before it is no part of the end.
func TestSkip(t *testing.T) {
	d, id := open(t), build.NewID()
	w := create(t, d, id, Options{Limit: 1000, Masker: NewMasker("a-secret-word")})
	line := strings.Repeat("x", 99) + "\n"
	for i := range 20 {
		if full := w.Full(); full != (i > 10) {
			t.Errorf("after %d lines: full is %v", i, full)
		}
		fmt.Fprint(w, line)
	}
	fmt.Fprint(w, "ends with a-secret-")
	w.Skip(5000)
	w.Skip(0)
	fmt.Fprint(w, "word begins\nthe end\n")
	end(t, w, build.Failed)
	w.Skip(1) // closed: nothing happens
	want := strings.Repeat(line, 10) + "--- the log has reached its limit of 1000 bytes: from here on only the end is kept, and added when the build ends ---\n" +
		"--- 6030 bytes are left out here ---\nthe end\n"
	if got := content(t, d, id); got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	d, id = open(t), build.NewID()
	w = create(t, d, id, Options{})
	fmt.Fprint(w, "a\n")
	w.Skip(3)
	fmt.Fprint(w, "b\n")
	end(t, w, build.Failed)
	if got := content(t, d, id); got != "a\n--- 3 bytes are left out here ---\nb\n" {
		t.Errorf("not full: %q", got)
	}
}

func TestAttempts(t *testing.T) {
	d, id := open(t), build.NewID()
	if err := d.Ensure(id); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	var followed sync.WaitGroup
	followed.Go(func() {
		if state, err := d.Follow(t.Context(), id, 0, &got); state != build.TimedOut || err != nil {
			t.Errorf("followed to state %q, %v", state, err)
		}
	})
	one := create(t, d, id, Options{})
	fmt.Fprint(one, "one\n")
	if _, err := d.Create(id, Options{}); !errors.Is(err, ErrWriting) {
		t.Errorf("a second writer: %v", err)
	}
	if err := d.Remove(id); !errors.Is(err, ErrWriting) {
		t.Errorf("removing while it is written: %v", err)
	}
	end(t, one, build.Queued)
	if _, err := fmt.Fprint(one, "late"); err == nil {
		t.Error("a closed Writer wrote")
	}
	two := create(t, d, id, Options{})
	fmt.Fprint(two, "two\n")
	end(t, one, build.Failed) // has no say any more
	end(t, two, build.TimedOut)
	followed.Wait()
	if got.String() != "one\ntwo\n" {
		t.Errorf("followed %q", got.String())
	}
	if _, err := d.Create(id, Options{}); !errors.Is(err, ErrEnded) {
		t.Errorf("writing after the end: %v", err)
	}
	if err := d.Ensure(id); err != nil {
		t.Error(err)
	}
	if len(d.logs) != 0 {
		t.Errorf("%d logs are in use", len(d.logs))
	}
}

// TestVolatile: the end of a log that did not wait for the disk is as good as another's, and where a power failure took
// it, Recover records it again.
func TestVolatile(t *testing.T) {
	dir := t.TempDir()
	d, id := openAt(t, dir), build.NewID()
	w := create(t, d, id, Options{Volatile: true})
	fmt.Fprintln(w, "cancelled")
	end(t, w, build.Cancelled)
	if info, err := openAt(t, dir).Stat(id); err != nil || info.State != build.Cancelled || content(t, d, id) != "cancelled\n" {
		t.Errorf("%+v, %v", info, err)
	}
	lost := build.NewID() // of which nothing but the name is there
	if err := d.Ensure(lost); err != nil {
		t.Fatal(err)
	}
	again := openAt(t, dir)
	if err := again.Recover(t.Context(), func(build.ID) build.State { return build.Cancelled }); err != nil {
		t.Fatal(err)
	}
	if info, err := again.Stat(lost); err != nil || info.State != build.Cancelled {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestRefusals(t *testing.T) {
	d, id := open(t), build.NewID()
	for _, from := range []int64{-1, 1} {
		if err := d.Ensure(id); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Follow(t.Context(), id, from, &bytes.Buffer{}); !errors.Is(err, ErrOffset) {
			t.Errorf("from %d on: %v", from, err)
		}
		if _, err := d.Page(id, from, 10); !errors.Is(err, ErrOffset) {
			t.Errorf("from %d on: %v", from, err)
		}
	}
	if _, err := d.Follow(t.Context(), build.NewID(), 0, &bytes.Buffer{}); !errors.Is(err, build.ErrNotFound) {
		t.Error(err)
	}
	if _, err := d.Create("../evil", Options{}); err == nil {
		t.Error("an id that is none names a file")
	}
	if p, err := d.Page(id, 0, -5); err != nil || len(p.Data) != 0 {
		t.Error(p, err)
	}
	damaged := build.NewID()
	if err := os.WriteFile(filepath.Join(d.root.Name(), string(damaged)+suffix), bytes.Repeat([]byte("x"), 500), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stat(damaged); err == nil {
		t.Error("a file that is no log was read")
	}
	if len(d.logs) != 0 {
		t.Errorf("%d logs are in use", len(d.logs))
	}
}

func TestRemoveAndPrune(t *testing.T) {
	d := open(t)
	old, young, written, followed := build.NewID(), build.NewID(), build.NewID(), build.NewID()
	for _, id := range []build.ID{old, young, followed} {
		w := create(t, d, id, Options{})
		fmt.Fprint(w, "12345")
		if id == followed {
			end(t, w, build.Queued)
		} else {
			end(t, w, build.Succeeded)
		}
	}
	create(t, d, written, Options{})
	stranger := filepath.Join(d.root.Name(), "notes.log")
	if err := os.WriteFile(stranger, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-1000 * time.Hour)
	for _, name := range []string{string(old) + suffix, string(written) + suffix, "notes.log"} {
		if err := os.Chtimes(filepath.Join(d.root.Name(), name), long, long); err != nil {
			t.Fatal(err)
		}
	}
	if freed, err := d.Prune(time.Now().Add(-time.Hour)); freed != headerSize+5 || err != nil {
		t.Errorf("freed %d bytes, %v", freed, err)
	}
	for id, there := range map[build.ID]bool{old: false, young: true, written: true} {
		if _, err := d.Stat(id); (err == nil) != there {
			t.Errorf("%v: %v", id, err)
		}
	}
	if _, err := os.Stat(stranger); err != nil {
		t.Error(err)
	}
	gone := make(chan error)
	var first firstWrite = make(chan struct{})
	go func() {
		_, err := d.Follow(t.Context(), followed, 0, first)
		gone <- err
	}()
	<-first
	if err := d.Remove(followed); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; !errors.Is(err, build.ErrNotFound) {
		t.Errorf("a follower of a removed log: %v", err)
	}
	if err := d.Remove(followed); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("removing it again: %v", err)
	}
}

// firstWrite is closed when something is written.
type firstWrite chan struct{}

func (f firstWrite) Write(p []byte) (int, error) {
	close(f)
	return len(p), nil
}

func TestConcurrentWrites(t *testing.T) {
	d, id := open(t), build.NewID()
	w := create(t, d, id, Options{Masker: NewMasker("some-secret")})
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				fmt.Fprintf(w, "<%d:%d some-secret>\n", g, i)
			}
		})
	}
	all.Wait()
	end(t, w, build.Succeeded)
	lines := map[string]bool{}
	for l := range strings.Lines(content(t, d, id)) {
		lines[l] = true
	}
	for g := range 8 {
		for i := range 200 {
			if l := fmt.Sprintf("<%d:%d [masked]>\n", g, i); !lines[l] {
				t.Fatalf("%q is missing or torn", l)
			}
		}
	}
}
