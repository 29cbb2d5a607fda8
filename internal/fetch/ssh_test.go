package fetch

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// newKey is a key as PEM and as what signs.
func newKey(t testing.TB) (text []byte, signer ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	must(t, err)
	signer, err = ssh.NewSignerFromKey(private)
	must(t, err)
	return pem.EncodeToMemory(block), signer
}

// serveSSH serves a repository to one key, by git's own upload-pack.
func serveSSH(t testing.TB, repo string, host ssh.Signer, client ssh.PublicKey) net.Addr {
	t.Helper()
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(client.Marshal()) {
			return nil, errors.New("another key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				if _, channels, requests, err := ssh.NewServerConn(c, config); err == nil {
					go ssh.DiscardRequests(requests)
					for ch := range channels {
						uploadPack(ctx, ch, repo)
					}
				}
			})
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); work.Wait() })
	return l.Addr()
}

func uploadPack(ctx context.Context, ch ssh.NewChannel, repo string) {
	c, requests, err := ch.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	for req := range requests {
		command := strings.TrimSuffix(string(req.Payload), "\x00")
		if req.Type != "exec" {
			req.Reply(false, nil)
			continue
		}
		req.Reply(true, nil)
		status := uint32(1)
		if strings.Contains(command, "git-upload-pack") && strings.Contains(command, "app.git") {
			cmd := exec.CommandContext(ctx, "git", "upload-pack", repo)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = c, c, c.Stderr()
			if cmd.Run() == nil {
				status = 0
			}
		}
		c.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, status))
		return
	}
}

func TestGitBySSH(t *testing.T) {
	r := newRepo(t)
	want := r.commit("main", r.app("1"))
	random := make([]byte, 4<<20)
	rand.Read(random)
	r.commit("big", r.tree("100644 blob "+r.blob(string(random))+"\tbig"))
	_, host := newKey(t)
	_, otherHost := newKey(t)
	key, client := newKey(t)
	otherKey, _ := newKey(t)
	addr := serveSSH(t, r.dir, host, client.PublicKey()).String()
	_, port, err := net.SplitHostPort(addr)
	must(t, err)
	known := func(line string) string {
		file := filepath.Join(t.TempDir(), "known hosts 100%")
		must(t, os.WriteFile(file, []byte(line+"\n"), 0o600))
		return file
	}
	f := fetcher(t, "")
	f.Dialer.Resolver = nameServer(t, "127.0.0.1")
	// ssh does not look the name up: no other name server knows it.
	url := gitURL(t, "ssh://git@git.test:"+port+"/app.git")
	right := known(knownhosts.Line([]string{"git.test:" + port}, host.PublicKey()))
	for _, c := range []struct {
		name, known string
		allow       Dialer
		key         []byte
		want        string
	}{
		{"right", right, allow("127.0.0.1/32"), key, ""},
		{"no known hosts", "", allow("127.0.0.1/32"), key, "fetches nothing by ssh"},
		{"another host key", known(knownhosts.Line([]string{"git.test:" + port}, otherHost.PublicKey())), allow("127.0.0.1/32"), key, "host key is not the one"},
		{"an unknown host", known(""), allow("127.0.0.1/32"), key, "host key is not the one"},
		{"another key", right, allow("127.0.0.1/32"), otherKey, "wants other credentials"},
		{"no key", right, allow("127.0.0.1/32"), nil, "wants other credentials"},
		{"no PEM", right, allow("127.0.0.1/32"), []byte(canary), "not a private key"},
		{"loopback", right, Dialer{}, key, `"git.test" is at 127.0.0.1, a loopback address`},
	} {
		f.KnownHosts, f.Dialer.Allow = c.known, c.allow.Allow
		commit, files, err := get(t, f, GitRequest{URL: url, Ref: "main", Credentials: Credentials{Key: c.key}})
		if c.want != "" {
			wantLine(t, err, c.want)
			continue
		}
		if err != nil || commit != want || files["version"] != "1" {
			t.Errorf("%s: %s, %v, %v", c.name, commit, files, err)
		}
	}
	f.KnownHosts, f.Dialer.Allow = right, allow("127.0.0.1/32").Allow
	_, _, err = get(t, f, GitRequest{URL: url, Ref: "big", Credentials: Credentials{Key: key}, Limits: Limits{Archive: 1 << 20}})
	wantLine(t, err, "more than 1048576 bytes come, the limit")
}
