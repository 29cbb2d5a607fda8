package gitserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/slipway-build/slipway/internal/build"
)

// SSH serves the repositories of a Handler over SSH (RFC 4252 to 4254): ssh://git@host/<app>.git. A client is known by
// its key, whatever its user name. There are git's two programs for pushes and fetches and nothing else: no shell, no
// files, no forwarding. What is pushed goes the way of a push over HTTP.
type SSH struct {
	Handler *Handler
	HostKey ssh.Signer
	// Known tells whether a key is anybody's: nil, build.ErrNotFound, or another error of ours. A client offers several.
	Known func(ctx context.Context, key PublicKey) error
}

// A PublicKey is a key as authorized_keys has it, without options and comment: "ssh-ed25519 AAAA...".
type PublicKey string

// ParsePublicKey reads a line of authorized_keys, without options. comment is what follows the key.
func ParsePublicKey(line string) (key PublicKey, fingerprint, comment string, err error) {
	if len(line) > maxKeyLine {
		return "", "", "", errors.New("the key is too long")
	}
	k, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 || len(strings.TrimSpace(string(rest))) > 0 {
		return "", "", "", errors.New("it is no public key, which is one line: ssh-ed25519 AAAA... comment")
	}
	if _, ok := k.(ssh.CryptoPublicKey); !ok || k.Type() == "ssh-dss" {
		return "", "", "", fmt.Errorf("keys of type %s are not taken: make one with ssh-keygen -t ed25519", k.Type())
	}
	return publicKey(k), ssh.FingerprintSHA256(k), comment, nil
}

const maxKeyLine = 16 << 10

func publicKey(k ssh.PublicKey) PublicKey {
	return PublicKey(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))))
}

// Bounds of what a client may do before and beside a push.
const (
	greetFor   = 30 * time.Second // to have shown a key
	maxGuests  = 100              // that have shown none yet
	maxTries   = 8                // keys that a client offers
	aliveEvery = 20 * time.Second // a client is asked whether it is there; Limits.Idle is added to that
)

// Serve takes connections until l is closed, and returns when the last of them has ended. Handler.Stop and
// Handler.Drain are for its sessions too.
func (s *SSH) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	guests := make(chan struct{}, maxGuests)
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				continue
			}
			return fmt.Errorf("accept: %w", err)
		}
		select {
		case guests <- struct{}{}:
			all.Go(func() { s.connection(ctx, conn, sync.OnceFunc(func() { <-guests })) })
		default:
			conn.Close()
		}
	}
}

// connection is one client from its first byte to its last. known is called when it has shown a key, or is gone.
func (s *SSH) connection(ctx context.Context, raw net.Conn, known func()) {
	defer known()
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := &restless{Conn: raw, idle: greetFor}
	giveUp := time.AfterFunc(greetFor, func() { raw.Close() })
	server, channels, requests, err := ssh.NewServerConn(conn, s.config(ctx))
	giveUp.Stop()
	if err != nil {
		return // whoever it is was told, or does not speak SSH
	}
	known()
	conn.setIdle(aliveEvery + s.Handler.Limits.withDefaults().Idle)
	go ssh.DiscardRequests(requests)      // forwarding among them
	ctx, leave := context.WithCancel(ctx) // ends with the client
	go func() {
		defer leave()
		_ = server.Wait()
	}()
	go alive(ctx, server)
	key := PublicKey(server.Permissions.Extensions[extensionKey])
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.Prohibited, "this service takes git pushes and fetches, and forwards nothing")
			continue
		}
		channel, asks, err := c.Accept()
		if err != nil {
			return
		}
		sessions.Go(func() { s.session(ctx, channel, asks, key) })
	}
}

// extensionKey is where the key that a client has shown stands in its permissions.
const extensionKey = "key"

func (s *SSH) config(ctx context.Context) *ssh.ServerConfig {
	told := false // a connection has a configuration of its own, and authenticates in one goroutine
	c := &ssh.ServerConfig{
		MaxAuthTries:  maxTries,
		ServerVersion: "SSH-2.0-Slipway",
		PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			key := publicKey(k)
			err := s.Known(ctx, key)
			switch {
			case err == nil:
				return &ssh.Permissions{Extensions: map[string]string{extensionKey: string(key)}}, nil
			case !errors.Is(err, build.ErrNotFound):
				s.Handler.fault(fmt.Errorf("look for an SSH key: %w", err))
			case !told:
				told = true
				return nil, &ssh.BannerError{Err: err, Message: "slipway: the key " + ssh.FingerprintSHA256(k) + " is not known here. Add it: slipway keys add FILE\r\n"}
			}
			return nil, err
		},
	}
	c.AddHostKey(s.HostKey)
	return c
}

// alive asks the client from time to time whether it is there: its answers keep the connection from being idle.
func alive(ctx context.Context, c ssh.Conn) {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, _, err := c.SendRequest("keepalive@openssh.com", true, nil); err != nil {
				return
			}
		}
	}
}

// restless is a connection that ends when nothing comes, or nothing can be sent, for a time.
type restless struct {
	net.Conn
	mu   sync.Mutex
	idle time.Duration
}

func (c *restless) setIdle(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = d
}

func (c *restless) deadline() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.idle)
}

func (c *restless) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(c.deadline())
	return c.Conn.Read(p)
}

func (c *restless) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(c.deadline())
	return c.Conn.Write(p)
}

// noShell is for who comes without git.
const noShell = "slipway: you are known here, but there is no shell: this service takes git pushes and fetches, as in\r\n" +
	"  git push ssh://git@HOST/APP.git\r\n"

// session serves the one program that a client asks for on a channel.
func (s *SSH) session(ctx context.Context, channel ssh.Channel, asks <-chan *ssh.Request, key PublicKey) {
	defer channel.Close()
	protocol := ""
	for ask := range asks {
		switch ask.Type {
		case "env":
			var e struct{ Name, Value string }
			if ssh.Unmarshal(ask.Payload, &e) == nil && e.Name == "GIT_PROTOCOL" && version().MatchString(e.Value) {
				protocol = e.Value
			}
			reply(ask, true)
		case "exec":
			var e struct{ Command string }
			err := ssh.Unmarshal(ask.Payload, &e)
			reply(ask, err == nil)
			if err != nil {
				return
			}
			go ssh.DiscardRequests(asks)
			exit(channel, s.exec(ctx, channel, e.Command, protocol, key))
			return
		case "shell":
			reply(ask, true)
			go ssh.DiscardRequests(asks)
			_, _ = io.WriteString(channel.Stderr(), noShell)
			exit(channel, 1)
			return
		default: // a terminal is of no use, and a subsystem would be files
			reply(ask, ask.Type == "pty-req")
		}
	}
}

func reply(r *ssh.Request, ok bool) {
	if r.WantReply {
		_ = r.Reply(ok, nil) // or the client is gone
	}
}

func exit(c ssh.Channel, status uint32) {
	_, _ = c.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status})) // or the client is gone
}

// sshCommand is what git asks for, quoted as git quotes it.
var sshCommand = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^git[- ](receive-pack|upload-pack) '?/?([A-Za-z0-9-]{1,100}?)(\.git)?/?'?$`)
})

// exec is the program that a client asks for; its exit status is returned.
func (s *SSH) exec(ctx context.Context, channel ssh.Channel, command, protocol string, key PublicKey) uint32 {
	h := s.Handler
	m := sshCommand().FindStringSubmatch(command)
	if m == nil {
		_, _ = fmt.Fprintf(channel.Stderr(), "slipway: %s is not served: there are git push, fetch and clone of ssh://git@HOST/APP.git\r\n", quote(command))
		return 128
	}
	service := "git-" + m[1]
	verb, _ := verbOfService(service)
	limits := h.Limits.withDefaults()
	out := newClient(func(p []byte) error {
		late := time.AfterFunc(limits.Idle, func() { channel.Close() }) // its window is full: it does not read
		defer late.Stop()
		_, err := channel.Write(p)
		return err
	})
	defer context.AfterFunc(ctx, out.leave)()
	err := h.serve(ctx, Credential{Key: key}, m[2], verb, func(ctx context.Context, app build.App, actor build.Actor) (killed bool, err error) {
		if service == receivePack {
			return h.sshPush(ctx, channel, out, app, actor, protocol)
		}
		return false, h.sshFetch(ctx, channel, out, app, protocol)
	})
	switch {
	case err == nil:
		return 0
	case out.left():
		return 128
	}
	code, line := status(err)
	if code == http.StatusInternalServerError {
		h.fault(err)
	}
	_ = packet(out, []byte("ERR "+line)) // a client takes all
	return 128
}

// sshPush is a push: git's advertisement, and then what a push over HTTP has in its body.
func (h *Handler) sshPush(ctx context.Context, in io.Reader, out *client, app build.App, actor build.Actor, protocol string) (killed bool, err error) {
	if err := h.advertiseTo(ctx, out, app, receivePack, protocol); err != nil || out.left() {
		return false, err
	}
	limits := h.Limits.withDefaults()
	buffered := bufio.NewReaderSize(in, 64<<10)
	commands, err := readHead(buffered)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || out.left():
		return false, nil // it went away
	case err != nil:
		return false, packet(out, []byte("ERR The request is not a push that this server understands: "+err.Error()))
	case len(commands.commands) == 0: // there is nothing to push
		return false, nil
	}
	p := &session{app: app, actor: actor, head: commands, in: buffered, out: out, gone: out.gone, limits: limits, open: true}
	err = h.receive(ctx, p)
	return p.killed, err
}

// sshFetch is a fetch or clone: git talks to the client itself. It ends with the client.
func (h *Handler) sshFetch(ctx context.Context, in io.Reader, out *client, app build.App, protocol string) error {
	ctx, cancel := context.WithTimeout(ctx, fetchFor)
	defer cancel()
	go func() {
		select {
		case <-out.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	cmd := h.Repos.command(ctx, h.Repos.path(app.ID), "upload-pack", ".")
	cmd.Env = append(cmd.Env, protocolEnv(protocol)...)
	if err := stream(cmd, io.LimitReader(in, h.Limits.withDefaults().Fetch), out); err != nil && !out.left() && ctx.Err() == nil {
		return err
	}
	return nil
}
