package gitserver

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// hookName is the hook, and the name of the script by which our executable is started as one.
const hookName = "pre-receive"

// The environment by which a hook finds the push that it belongs to.
const (
	envSocket = "SLIPWAY_GIT_SOCKET"
	envSecret = "SLIPWAY_GIT_SECRET"
)

// IsHook tells whether this process was started by a git of ours, to be its hook. main asks before anything else.
func IsHook(args, env []string) bool {
	return len(args) > 1 && filepath.Base(args[1]) == hookName && lookup(env, envSocket) != "" // args[0] is us, the script's interpreter
}

func lookup(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// A greeting is what the hook tells the service: one line of JSON.
type greeting struct {
	Secret  string   `json:"secret"`
	Objects string   `json:"objects"` // GIT_OBJECT_DIRECTORY: the quarantine
	Options []string `json:"options"`
	Updates []string `json:"updates"` // as git gives them
}

const maxGreeting = 1 << 20

// What the service tells the hook: frames of a kind, a length and a payload.
const (
	frameText = 'o' // to print
	frameExit = 'x' // one byte, the status to end with; nothing follows
)

// Hook is the whole pre-receive hook: it tells the service that runs git what git told it, prints what the service
// says, and returns the status that the service decides on. It is run by git, in another process than the service.
func Hook(ctx context.Context, stdin io.Reader, stdout io.Writer, env []string) int {
	status, err := hook(ctx, stdin, stdout, env)
	if err != nil {
		fmt.Fprintf(stdout, " !     The build service went away: %s. Push again.\n", quote(err.Error()))
		return 1
	}
	return status
}

func hook(ctx context.Context, stdin io.Reader, stdout io.Writer, env []string) (int, error) {
	g := greeting{Secret: lookup(env, envSecret), Objects: lookup(env, "GIT_OBJECT_DIRECTORY")}
	text, err := io.ReadAll(io.LimitReader(stdin, maxHead))
	if err != nil {
		return 0, err
	}
	g.Updates = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	address, release, err := shortPath(lookup(env, envSocket))
	if err != nil {
		return 0, err
	}
	defer release()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(g); err != nil {
		return 0, err
	}
	return obey(conn, stdout)
}

func obey(conn io.Reader, stdout io.Writer) (int, error) {
	r := bufio.NewReader(conn)
	var h [5]byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return 0, unexpected(err)
		}
		n := int64(binary.BigEndian.Uint32(h[1:]))
		switch {
		case h[0] == frameExit && n == 1:
			status, err := r.ReadByte()
			return int(status), err
		case h[0] == frameText:
			if _, err := io.CopyN(stdout, r, n); err != nil {
				return 0, unexpected(err)
			}
		default:
			return 0, errors.New("it says something that this hook does not know")
		}
	}
}

// A door is where the hook of one push comes in.
type door struct {
	path, secret string
	l            net.Listener
	release      func()
}

func (r *Repos) openDoor() (*door, error) {
	d := &door{path: filepath.Join(r.dir, runDir, rand.Text()), secret: rand.Text()}
	address, release, err := shortPath(d.path)
	if err != nil {
		return nil, fmt.Errorf("wait for the hook: %w", err)
	}
	d.release = release
	if d.l, err = net.Listen("unix", address); err != nil {
		release()
		return nil, fmt.Errorf("wait for the hook: %w", err)
	}
	d.l.(*net.UnixListener).SetUnlinkOnClose(false) // by path, in close
	return d, nil
}

func (d *door) env() []string { return []string{envSocket + "=" + d.path, envSecret + "=" + d.secret} }

func (d *door) close() error {
	defer d.release()
	return errors.Join(d.l.Close(), os.Remove(d.path))
}

// accept waits for the hook, until the door is closed.
func (d *door) accept() (*visitor, greeting, error) {
	for {
		conn, err := d.l.Accept()
		if err != nil {
			return nil, greeting{}, err
		}
		line, err := bufio.NewReader(io.LimitReader(conn, maxGreeting)).ReadBytes('\n')
		var g greeting
		if err == nil {
			err = json.Unmarshal(line, &g)
		}
		if err == nil && subtle.ConstantTimeCompare([]byte(g.Secret), []byte(d.secret)) == 1 {
			return &visitor{conn: conn}, g, nil
		}
		conn.Close()
	}
}

// A visitor is a hook that came in. What is written to it is printed by the client.
type visitor struct {
	mu   sync.Mutex
	conn net.Conn
}

func (v *visitor) Write(p []byte) (int, error) {
	if err := v.frame(frameText, p); err != nil {
		return 0, fmt.Errorf("write to the pushing client: %w", err)
	}
	return len(p), nil
}

// exit ends the hook.
func (v *visitor) exit(status byte) error {
	return errors.Join(v.frame(frameExit, []byte{status}), v.conn.Close())
}

func (v *visitor) frame(kind byte, p []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(p))), p...)
	_, err := v.conn.Write(f)
	return err
}

// shortPath is another path of a socket where its own is longer than an address may be.
func shortPath(path string) (short string, release func(), err error) {
	if len(path) < 100 {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}
