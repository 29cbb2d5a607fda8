package agent

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder"
)

// startFailure names what the kernel's error for a failed start leaves open, for the author of the buildpack.
func startFailure(cmd builder.Cmd, err error) error {
	fail := func(format string, args ...any) error {
		return &builder.StartError{Phase: cmd.Phase, Buildpack: cmd.Buildpack, Path: cmd.Path, Reason: fmt.Sprintf(format, args...)}
	}
	machine, loader, isELF := elfFacts(cmd.Path)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return fail("no more processes are allowed here: the limit of the build container is reached")
	case errors.Is(err, syscall.ENOEXEC) && isELF:
		return fail("it is a program for another architecture (%s), this system is %s", machine, runtime.GOARCH)
	case errors.Is(err, syscall.ENOENT) && loader != "" && !isFile(loader) && isDir(cmd.Dir):
		return fail("it needs the dynamic loader %s, which this system does not have (built for another distribution?)", loader)
	case errors.Is(err, syscall.EACCES):
		return fail("permission denied for user %d (interpreter, file and all directories above must be accessible)", os.Getuid())
	}
	return builder.StartFailure(cmd, err)
}

// elfFacts are the machine and the dynamic loader of a program.
func elfFacts(path string) (machine, loader string, ok bool) {
	f, err := elf.Open(path)
	if err != nil {
		return "", "", false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < 4096 {
			b, _ := io.ReadAll(io.LimitReader(p.Open(), 4096))
			loader = string(bytes.TrimRight(b, "\x00"))
		}
	}
	return strings.ToLower(strings.TrimPrefix(f.Machine.String(), "EM_")), loader, true
}

// missingInterpreter explains exit status 127 of a script whose first line asks env for a program that is not there:
// env was started well, so the kernel saw no error. "" where the status was the script's own.
func missingInterpreter(cmd builder.Cmd) string {
	f, err := os.Open(cmd.Path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := io.ReadFull(f, b)
	text, ok := bytes.CutPrefix(b[:n], []byte("#!"))
	if !ok {
		return ""
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	fields := strings.Fields(string(text))
	if len(fields) < 2 || filepath.Base(fields[0]) != "env" || strings.HasPrefix(fields[1], "-") || strings.Contains(fields[1], "=") {
		return ""
	}
	name, path := fields[1], ""
	for _, e := range cmd.Env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	for dir := range strings.SplitSeq(path, ":") {
		if strings.Contains(name, "/") {
			dir = ""
		}
		if isFile(filepath.Join(dir, name)) {
			return ""
		}
	}
	return fmt.Sprintf("its interpreter %s is not on PATH (%s)", name, path)
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}
