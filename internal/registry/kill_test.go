package registry_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/registry"
)

// childDir names the directory that this test binary is to serve, instead of running tests.
const childDir = "REGISTRY_TEST_SERVES"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, child(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child serves until it is killed. Its first line says where.
func child(dir string) error {
	r, err := registry.Open(context.Background(), registry.Options{Dir: dir, Authorize: house})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, r.Handler())
}

// TestKill kills the serving process in the middle of pushes, again and again. Whatever was acknowledged must then be
// there, every byte of it, and be sealed: Open removes what is not.
func TestKill(t *testing.T) {
	const kills, pushers = 6, 3
	dir := t.TempDir()
	type acknowledged struct {
		ref string
		h   v1.Hash
	}
	var mu sync.Mutex
	var all []acknowledged
	for kill := range kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out := must(cmd.StdoutPipe())(t)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatalf("after %d kills it does not start: %v", kill, err)
		}
		s := &served{t: t, dir: dir, host: strings.TrimSpace(line)}
		var wg sync.WaitGroup
		enough := make(chan struct{}, 100) // as many as are ever sent
		for p := range pushers {
			wg.Go(func() {
				for n := range 20 {
					img, err := random.Image(20000, 3)
					if err != nil {
						t.Error(err)
						return
					}
					ref := fmt.Sprintf("alice/app%d:k%d-n%d", p, kill, n)
					if remote.Write(s.ref(ref), img, remote.WithAuth(alice), remote.WithRetryBackoff(remote.Backoff{Steps: 1})) != nil {
						return // killed
					}
					h, err := img.Digest()
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					all = append(all, acknowledged{ref, h})
					mu.Unlock()
					enough <- struct{}{}
				}
			})
		}
		go func() { // ends with the pushers, which end when the process is killed
			wg.Wait()
			close(enough)
		}()
		for range 2 + kill {
			if _, ok := <-enough; !ok {
				t.Errorf("after %d kills the pushes fail by themselves", kill)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		_ = cmd.Wait()
	}
	s := serve(t, dir, nil)
	for _, a := range all {
		if got, err := s.pull(alice, a.ref); err != nil || got != a.h {
			t.Errorf("%s was acknowledged as %s: %v, %v", a.ref, a.h, got, err)
		}
	}
	t.Logf("%d pushes acknowledged beside %d kills", len(all), kills)
}
