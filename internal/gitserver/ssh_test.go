package gitserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/slipway-build/slipway/internal/build"
)

// keyring is a directory with a key for each that a test may use, named as the token that may as much, and what the
// stock client needs to use the one that its user is called.
type keyring struct {
	dir    string
	host   ssh.Signer
	public map[PublicKey]string // to the name
}

var keys = sync.OnceValues(func() (*keyring, error) {
	dir, err := os.MkdirTemp("", "slipway-keys-")
	if err != nil {
		return nil, err
	}
	k := &keyring{dir: dir, public: map[PublicKey]string{}}
	if _, k.host, err = newKey(); err != nil {
		return nil, err
	}
	for _, name := range []string{token, "reader", "foreign", "wrong"} {
		private, signer, err := newKey()
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), private, 0o600); err != nil {
			return nil, err
		}
		k.public[publicKey(signer.PublicKey())] = name
	}
	known := "* " + string(ssh.MarshalAuthorizedKey(k.host.PublicKey()))
	config := fmt.Sprintf("Host *\n IdentityFile %s/%%r\n IdentitiesOnly yes\n UserKnownHostsFile %s/known\n StrictHostKeyChecking yes\n BatchMode yes\n", dir, dir)
	return k, errors.Join(os.WriteFile(filepath.Join(dir, "known"), []byte(known), 0o600), os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600))
})

func newKey() (private []byte, s ssh.Signer, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "test")
	if err != nil {
		return nil, nil, err
	}
	s, err = ssh.NewSignerFromKey(key)
	return pem.EncodeToMemory(block), s, err
}

func theKeys(t testing.TB) *keyring {
	t.Helper()
	k, err := keys()
	must(t, err)
	return k
}

// serveSSH serves a world over SSH too, and returns the address.
func (w *world) serveSSH() string {
	w.t.Helper()
	k := theKeys(w.t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	s := &SSH{Handler: w.handler, HostKey: k.host, Known: func(_ context.Context, key PublicKey) error {
		if name := k.public[key]; name == "" || name == "wrong" {
			return build.ErrNotFound
		}
		return nil
	}}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- s.Serve(ctx, l) }()
	w.t.Cleanup(func() {
		l.Close()
		cancel()
		if err := <-over; err != nil {
			w.t.Error(err)
		}
	})
	return l.Addr().String()
}

// TestOverSSH is what pushes and fetches do, all of it, over the other transport.
func TestOverSSH(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"Push": TestPush, "Refusal": TestRefusal, "OurFault": TestOurFault, "HookGone": TestHookGone, "Refs": TestRefs, "ForcePush": TestForcePush,
		"Shallow": TestShallow, "PackLimit": TestPackLimit, "SourceLimits": TestSourceLimits, "TreeBomb": TestTreeBomb, "LargePush": TestLargePush,
		"FetchOfMany": TestFetchOfMany, "Maintain": TestMaintain, "Streaming": TestStreaming, "ClientGone": TestClientGone, "TwoAtOnce": TestTwoAtOnce,
		"Keep": TestKeep, "KeepShallow": TestKeepShallow, "Stop": TestStop,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// ssh is the stock client, as somebody with a key.
func (w *world) ssh(address, name string, args ...string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	must(w.t, err)
	cmd := exec.Command("ssh", append([]string{"-F", filepath.Join(theKeys(w.t).dir, "config"), "-p", port, name + "@" + host}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestSSHRefusals: who has no key, or another's, or wants something else, is told so in a line.
func TestSSHRefusals(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	address := w.serveSSH()
	url := func(name, path string) string { return "ssh://" + name + "@" + address + path }
	d.wantPush(false, []string{url("wrong", "/demo.git"), "main"}, "is not known here. Add it: slipway keys add", "Permission denied (publickey)")
	d.wantPush(false, []string{url("foreign", "/demo.git"), "main"}, "fatal: remote error: There is no such app, or it is not yours.")
	d.wantPush(false, []string{url("reader", "/demo.git"), "main"}, "fatal: remote error: This token or key may not do that")
	d.wantPush(false, []string{url(token, "/other.git"), "main"}, "fatal: remote error: There is no such app")
	d.wantPush(false, []string{url(token, "/../../etc"), "main"}, `is not served: there are git push, fetch and clone of`)
	if at := w.at(mainRef); at != Zero {
		t.Errorf("main is at %s", at)
	}
	for _, ask := range [][]string{nil, {"sh"}, {"git-receive-pack '/demo.git'; id"}, {"git-receive-pack"}, {"-s", "sftp"}, {"git upload-archive '/demo.git'"}} {
		out, err := w.ssh(address, token, ask...)
		if err == nil || !strings.Contains(out, "slipway: ") && !strings.Contains(out, "subsystem request failed") {
			t.Errorf("ssh %q: %v, %q", ask, err, out)
		}
	}
	if out, err := w.ssh(address, token, "-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"); err == nil || !strings.Contains(out, "forwarding failed") {
		t.Errorf("forwarding to here: %v, %q", err, out)
	}
	if out, err := w.ssh(address, token, "-W", address); err == nil || !strings.Contains(out, "forwarding failed") {
		t.Errorf("forwarding from here: %v, %q", err, out)
	}
	d.wantPush(true, []string{url(token, "/demo.git"), "main"}, "main -> main")
	d.git("ls-remote", url(token, "/demo"))
}

func TestSSHCommand(t *testing.T) {
	for command, app := range map[string]string{
		"git-receive-pack '/demo.git'": "demo", "git-upload-pack 'demo.git'": "demo", "git upload-pack '/demo'": "demo", "git-upload-pack '/demo.git/'": "demo",
		"git-receive-pack": "", "git-receive-pack '/a/b.git'": "", "git-receive-pack '../x.git'": "", "git-receive-pack '/demo.git' x": "", "git-shell": "", "": "",
	} {
		if m := sshCommand().FindStringSubmatch(command); (m == nil) != (app == "") || m != nil && m[2] != app {
			t.Errorf("%q is of %q, want %q", command, m, app)
		}
	}
}

// TestSSHNoise: what is no SSH, and who says nothing, is let go, and the next one is served.
func TestSSHNoise(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	address := w.serveSSH()
	var open []net.Conn
	for i := range maxGuests + 20 {
		c, err := net.Dial("tcp", address)
		must(t, err)
		open = append(open, c)
		if i%2 == 0 {
			_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("x", 1<<16)))
			_ = err // it may be gone already
		}
	}
	for _, c := range open {
		c.Close()
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out, err := d.try("push", "ssh://"+token+"@"+address+"/demo.git", "main")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

func TestParsePublicKey(t *testing.T) {
	_, s, err := newKey()
	must(t, err)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
	k, fingerprint, comment, err := ParsePublicKey(line + " ada's laptop\n")
	if err != nil || string(k) != line || fingerprint != ssh.FingerprintSHA256(s.PublicKey()) || comment != "ada's laptop" {
		t.Errorf("%q %q %q, %v", k, fingerprint, comment, err)
	}
	for _, bad := range []string{"", "ssh-ed25519", "ssh-ed25519 AAAA", "command=\"x\" " + line, line + "\n" + line, strings.Repeat("x", maxKeyLine+1), "-----BEGIN OPENSSH PRIVATE KEY-----"} {
		if k, _, _, err := ParsePublicKey(bad); err == nil {
			t.Errorf("%.60q is %q", bad, k)
		}
	}
	if b := bytes.Count([]byte(line), []byte(" ")); b != 1 {
		t.Errorf("%d blanks", b)
	}
}
