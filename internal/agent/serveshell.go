package agent

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/agent/wire"
)

// shell is Agent.Shell in the container.
func (s *runServer) shell(ctx context.Context, call *wire.Call, req shellRequest) (any, error) {
	sh, err := findShell(req)
	if err != nil {
		return nil, err
	}
	p, err := openPTY(req.Size)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	defer p.closeUser()
	script, err := memoryFile(sh.script)
	if err != nil {
		return nil, fmt.Errorf("write what the shell reads first: %w", err)
	}
	defer script.Close()
	exit := make(chan ended, 1)
	files := []uintptr{uintptr(p.user), uintptr(p.user), uintptr(p.user), script.Fd()}
	pid, err := s.keeper.start(sh.path, sh.argv, sh.env, req.Dir, files, &syscall.SysProcAttr{Setsid: true, Setctty: true}, exit)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", sh.path, err)
	}
	p.closeUser()
	var out, in sync.WaitGroup
	out.Go(func() {
		w := call.Writer(0)
		p.show(w)
		_ = w.Close() // a connection that is lost is its owner's to tell
	})
	left := make(chan struct{})
	in.Go(func() { typed(p, call.Reader(0)); close(left) })
	in.Go(func() { resized(p, call.Reader(1)) })
	select {
	case <-exit:
	case <-left: // whoever sat there is gone
		s.keeper.kill(pid)
		<-exit
	case <-ctx.Done():
		s.keeper.kill(pid)
		<-exit
	}
	p.end()
	out.Wait()
	_ = p.Close() // nobody reads what is still typed
	in.Wait()
	return struct{}{}, nil
}

// typed passes on what a person types, to its end. What cannot be is dropped: the other end must not wait.
func typed(p *pty, r io.Reader) {
	if _, err := io.Copy(struct{ io.Writer }{p.File}, r); err != nil {
		_, _ = io.Copy(io.Discard, r)
	}
}

func resized(p *pty, r io.Reader) {
	var b [sizeBytes]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return
		}
		p.resize(Size{binary.BigEndian.Uint16(b[:]), binary.BigEndian.Uint16(b[2:])})
	}
}

// memoryFile is a file that is nowhere.
func memoryFile(text string) (*os.File, error) {
	fd, err := unix.MemfdCreate("shell", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "shell")
	_, err = io.WriteString(f, text)
	return f, err
}

// scriptPath is where a shell finds its script.
const scriptPath = "/proc/self/fd/3"

// A shellCommand is a shell that is ready to start.
type shellCommand struct {
	path      string
	argv, env []string
	script    string // comes first
}

// findShell takes bash where there is one, else sh. Neither gets a variable that the executable would not: what the
// shell needs for itself its script sets, and does not export.
func findShell(req shellRequest) (shellCommand, error) {
	if bash := lookPath("bash", req.Env); bash != "" {
		return shellCommand{bash, []string{"bash", "--noprofile", "--rcfile", scriptPath, "-i"}, req.Env, bashScript(req)}, nil
	}
	sh := lookPath("sh", req.Env)
	if sh == "" {
		return shellCommand{}, fmt.Errorf("the build image has neither bash nor sh")
	}
	// A plain sh finds its script by a variable, which the script puts back.
	env := append(slices.DeleteFunc(slices.Clone(req.Env), func(e string) bool { return strings.HasPrefix(e, "ENV=") }), "ENV="+scriptPath)
	return shellCommand{sh, []string{"sh", "-i"}, env, plainScript(req)}, nil
}

// lookPath finds a program on the PATH of an environment, or where it is by custom.
func lookPath(name string, env []string) string {
	path, _ := valueOf(env, "PATH")
	for _, dir := range append(strings.Split(path, ":"), "/bin", "/usr/bin", "/usr/local/bin") {
		p := filepath.Join(dir, name)
		if filepath.IsAbs(p) && isFile(p) && unix.Access(p, unix.X_OK) == nil {
			return p
		}
	}
	return ""
}

// valueOf is a variable's value.
func valueOf(env []string, name string) (string, bool) {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

// bashScript takes back what bash exports of itself.
func bashScript(req shellRequest) string {
	var b strings.Builder
	b.WriteString(commonScript(req, `\$`))
	for _, name := range []string{"SHLVL", "PWD", "OLDPWD"} {
		if v, ok := valueOf(req.Env, name); ok {
			fmt.Fprintf(&b, "%s=%s\n", name, quoted(v))
		} else {
			fmt.Fprintf(&b, "declare +x %s\n", name)
		}
	}
	return b.String()
}

func plainScript(req shellRequest) string {
	own := "unset ENV\n"
	if v, ok := valueOf(req.Env, "ENV"); ok {
		own = "ENV=" + quoted(v) + "\n"
	}
	if _, ok := valueOf(req.Env, "PWD"); !ok {
		own += "unset PWD OLDPWD\n" // until a cd
	}
	return own + commonScript(req, "$")
}

// commonScript sets the prompt, the executable's arguments and a function that runs it.
func commonScript(req shellRequest, sign string) string {
	var b strings.Builder
	if _, ok := valueOf(req.Env, "TERM"); !ok && req.Type != "" {
		fmt.Fprintf(&b, "TERM=%s\n", quoted(req.Type))
	}
	args := make([]string, len(req.Args))
	for i, a := range req.Args {
		args[i] = quoted(a)
	}
	all := strings.Join(args, " ")
	fmt.Fprintf(&b, "unset HISTFILE\nslipway_where=%s\nPS1='slipway: $slipway_where $(pwd) %s '\nPS2='> '\nset -- %s\n", quoted(req.Where), sign, all)
	fmt.Fprintf(&b, "%s() { (cd %s && exec %s %s); }\nexec 3<&-\n", req.Phase, quoted(req.Dir), quoted(req.Path), all)
	return b.String()
}

// quoted is a text as one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
