package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// TestMain lets the test binary be the process that dies, or the one whose disk is full.
func TestMain(m *testing.M) {
	dir, id := os.Getenv("LOGS_DIR"), build.ID(os.Getenv("LOGS_ID"))
	switch os.Getenv("LOGS_CHILD") {
	case "":
		os.Exit(m.Run())
	case "crash":
		fmt.Fprintln(os.Stderr, crash(dir, id))
	case "full":
		fmt.Fprintln(os.Stderr, fullDisk(dir, id))
	}
	os.Exit(1)
}

func child(t *testing.T, what, dir string, id build.ID) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self)
	c.Env = append(os.Environ(), "LOGS_CHILD="+what, "LOGS_DIR="+dir, "LOGS_ID="+string(id))
	c.Stderr = t.Output()
	return c
}

// crash writes, says so, and waits to be killed.
func crash(dir string, id build.ID) error {
	d, err := Open(dir)
	if err != nil {
		return err
	}
	w, err := d.Create(id, Options{Masker: NewMasker("a-secret-that-is-cut")})
	if err != nil {
		return err
	}
	fmt.Fprint(w, "one line\nand a-secret-that-is-cut, and a-secret-that")
	fmt.Println("written")
	time.Sleep(time.Minute)
	return errors.New("nobody came")
}

// dieWriting lets a process die while it writes a log.
func dieWriting(t *testing.T, dir string, id build.ID) {
	t.Helper()
	c := child(t, "crash", dir, id)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(out).ReadString('\n'); said != "written\n" {
		t.Fatal(said, err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Fatal("the child ended well")
	}
}

func TestRecover(t *testing.T) {
	dir := t.TempDir()
	ended, again, waiting, cancelled := build.NewID(), build.NewID(), build.NewID(), build.NewID()
	for _, id := range []build.ID{ended, again} {
		dieWriting(t, dir, id)
	}
	d := openAt(t, dir)
	for _, id := range []build.ID{waiting, cancelled} {
		if err := d.Ensure(id); err != nil {
			t.Fatal(err)
		}
	}
	const before = "one line\nand [masked], and "
	if got := content(t, d, ended); got != before {
		t.Fatalf("the dead process left %q", got)
	}
	var live bytes.Buffer // somebody who came back before Recover
	followed := make(chan error)
	go func() {
		state, err := d.Follow(t.Context(), ended, int64(len(before)-4), &live)
		if state != build.Failed {
			err = fmt.Errorf("state %q, %w", state, err)
		}
		followed <- err
	}()
	states := map[build.ID]build.State{ended: build.Failed, again: build.Queued, waiting: build.Queued, cancelled: build.Cancelled}
	for range 2 { // once more changes nothing
		if err := d.Recover(t.Context(), func(id build.ID) build.State { return states[id] }); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-followed; err != nil {
		t.Error(err)
	}
	const marker = "\n--- the build service stopped here: the end of what was printed may be missing ---\n"
	if got := content(t, d, ended); got != before+marker || live.String() != got[len(before)-4:] {
		t.Errorf("recovered %q, followed %q", got, live.String())
	}
	w := create(t, d, again, Options{})
	fmt.Fprint(w, "next attempt\n")
	end(t, w, build.Succeeded)
	if got := content(t, d, again); got != before+marker+"next attempt\n" {
		t.Errorf("went on as %q", got)
	}
	for id, want := range map[build.ID]build.State{ended: build.Failed, again: build.Succeeded, waiting: "", cancelled: build.Cancelled} {
		if info, err := d.Stat(id); err != nil || info.State != want || info.Writing {
			t.Errorf("%+v, %v; want state %q", info, err, want)
		}
	}
}

// TestRecoverWithoutHeader: the process died before it wrote any, or while the log was not there.
func TestRecoverWithoutHeader(t *testing.T) {
	d, id := open(t), build.NewID()
	if err := os.WriteFile(d.root.Name()+"/"+string(id)+suffix, []byte("slip"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Recover(t.Context(), func(build.ID) build.State { return build.Cancelled }); err != nil {
		t.Fatal(err)
	}
	if info, err := d.Stat(id); err != nil || info.State != build.Cancelled || info.Size != 0 {
		t.Errorf("%+v, %v", info, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	called := false
	if err := d.Recover(ctx, func(build.ID) build.State { called = true; return "" }); err != nil || called {
		t.Errorf("a recovery that was called off: %v, %v", called, err)
	}
}

// fullDisk writes under a limit of file sizes, which is to a process what a full disk is, and lifts it.
func fullDisk(dir string, id build.ID) error {
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	limit := old
	limit.Cur = headerSize + 10
	d, err := Open(dir)
	if err != nil {
		return err
	}
	warned := 0
	w, err := d.Create(id, Options{Warn: func(err error) {
		if warned++; !errors.Is(err, syscall.EFBIG) {
			warned += 100
		}
	}})
	if err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	for i := range 5 {
		if n, err := fmt.Fprint(w, "0123456\n"); n != 8 || err != nil {
			return fmt.Errorf("write %d: %d, %w", i, n, err)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	time.Sleep(1100 * time.Millisecond) // more often than every second nobody tries
	fmt.Fprint(w, "written again\n")
	if err := w.Close(build.Succeeded); err != nil {
		return err
	}
	if warned != 1 {
		return fmt.Errorf("warned %d times", warned)
	}
	fmt.Println("done")
	return nil
}

func TestFullDisk(t *testing.T) {
	dir, id := t.TempDir(), build.NewID()
	c := child(t, "full", dir, id)
	out, _ := c.Output()
	if string(out) != "done\n" {
		t.Fatalf("the child said %q", out)
	}
	want := "0123456\n--- 32 bytes are missing here: the log could not be written ---\nwritten again\n"
	if got := content(t, openAt(t, dir), id); got != want {
		t.Errorf("the log is %q, not %q", got, want)
	}
}
