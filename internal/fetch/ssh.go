package fetch

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// connectSSH lets git use ssh. The name is looked up and the address checked here, by a connection that is given up
// again; ssh is then given that address and looks nothing up. The key stays in our memory: ssh asks us to sign.
func (s *session) connectSSH(ctx context.Context, u GitURL, creds Credentials) (end func(), err error) {
	port := u.port
	if port == "" {
		port = "22"
	}
	conn, err := s.fetcher.Dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.host, port))
	if err != nil {
		return nil, err
	}
	at, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err := errors.Join(err, conn.Close()); err != nil {
		return nil, err
	}
	program, err := exec.LookPath("ssh")
	if err != nil {
		return nil, fmt.Errorf("find ssh: %w", err)
	}
	known, err := filepath.Abs(s.fetcher.KnownHosts)
	if err != nil {
		return nil, err
	}
	socket := "none"
	end = func() {}
	if len(creds.Key) > 0 {
		socket = filepath.Join(s.dir, "agent")
		if end, err = serveAgent(socket, creds.Key); err != nil {
			return nil, err
		}
	}
	alias := u.host // as known_hosts has it
	if port != "22" {
		alias = "[" + u.host + "]:" + port
	}
	file := filepath.Join(s.dir, "ssh_config")
	if err := os.WriteFile(file, []byte(sshConfig(at, alias, known, socket, int(s.limits.Stall.Seconds()))), 0o600); err != nil {
		end()
		return nil, err
	}
	// git gives this to a shell. Nothing in it comes from outside, and paths are quoted.
	s.network = []string{"GIT_ALLOW_PROTOCOL=ssh", "GIT_SSH_VARIANT=ssh", "GIT_SSH_COMMAND=" + quoteShell(program) + " -F " + quoteShell(file)}
	return end, nil
}

func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quoteConfig is a path in ssh's configuration, where % begins a token.
func quoteConfig(s string) string { return `"` + strings.ReplaceAll(s, "%", "%%") + `"` }

// sshConfig is all the configuration that ssh has.
func sshConfig(address, alias, known, agent string, stall int) string {
	return strings.Join([]string{
		"Host *",
		"HostName " + address,
		"HostKeyAlias " + alias,
		"CheckHostIP no",
		"UserKnownHostsFile " + quoteConfig(known),
		"GlobalKnownHostsFile /dev/null",
		"StrictHostKeyChecking yes",
		"UpdateHostKeys no",
		"BatchMode yes",
		"IdentityFile none",
		"IdentityAgent " + quoteConfig(agent),
		"PreferredAuthentications publickey",
		"CanonicalizeHostname no",
		"ClearAllForwardings yes",
		"ForwardAgent no",
		"ControlMaster no",
		"ControlPath none",
		"PermitLocalCommand no",
		"ProxyCommand none",
		"ProxyJump none",
		"RequestTTY no",
		"ConnectionAttempts 1",
		"ConnectTimeout " + strconv.Itoa(max(stall, 1)),
		"ServerAliveInterval " + strconv.Itoa(max(stall/3, 1)),
		"ServerAliveCountMax 3",
		"LogLevel ERROR",
	}, "\n") + "\n"
}

// serveAgent is an ssh agent with one key, at a socket in a directory that only we may enter.
func serveAgent(socket string, key []byte) (end func(), err error) {
	private, err := ssh.ParseRawPrivateKey(key)
	if err != nil { // the library's text may quote the key
		return nil, fmt.Errorf("the ssh key is not a private key as PEM without a passphrase")
	}
	if k, ok := private.(*rsa.PrivateKey); ok && k.N.BitLen() < 2048 {
		return nil, fmt.Errorf("the ssh key is an RSA key of %d bits: 2048 are the least", k.N.BitLen())
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		return nil, fmt.Errorf("the ssh key is of a kind that is not used")
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("serve the ssh key: %w", err)
	}
	var work sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	closed := false
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // end closed it
			}
			mu.Lock()
			conns = append(conns, c)
			if closed {
				c.Close()
			}
			mu.Unlock()
			work.Go(func() { _ = agent.ServeAgent(ring, c); c.Close() }) // its error is that ssh has left
		}
	})
	return func() {
		_ = l.Close()
		mu.Lock()
		closed = true
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		work.Wait()
	}, nil
}
