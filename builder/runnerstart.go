package builder

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// CheckStart looks at an executable before it is run and finds what the kernel would report badly or not at all:
// a first line with a Windows line ending, an interpreter that is not there, no permission. It is for runners, on
// the side where the executable is. The error is a *StartError.
func CheckStart(cmd Cmd) error {
	reason := startReason(cmd.Path)
	if reason == "" {
		return nil
	}
	return &StartError{Phase: cmd.Phase, Buildpack: cmd.Buildpack, Path: cmd.Path, Reason: reason}
}

// StartFailure makes the *StartError for err, with which the operating system refused to start cmd.
func StartFailure(cmd Cmd, err error) error {
	var reason string
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		reason = formatReason(cmd.Path)
	case errors.Is(err, syscall.E2BIG):
		reason = "its environment is too large for the operating system"
	case errors.Is(err, fs.ErrNotExist) && !exists(cmd.Dir):
		reason = fmt.Sprintf("its working directory %s does not exist", cmd.Dir)
	case errors.Is(err, fs.ErrNotExist):
		reason = "it or the loader that it is linked to does not exist"
	default:
		reason = errors.Unwrap(unwrapped{err}).Error()
	}
	return &StartError{Phase: cmd.Phase, Buildpack: cmd.Buildpack, Path: cmd.Path, Reason: reason}
}

// unwrapped lets errors.Unwrap reach the innermost error, which has no path of its own.
type unwrapped struct{ error }

func (u unwrapped) Unwrap() error {
	err := u.error
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

func startReason(path string) string {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it does not exist"
	case err != nil:
		return unwrapped{err}.Unwrap().Error()
	case !fi.Mode().IsRegular():
		return fmt.Sprintf("it is a %s, not an executable file", typeName(fi.Mode()))
	case fi.Mode().Perm()&0o111 == 0:
		return "it is not executable (chmod +x)"
	}
	line, ok := shebang(path)
	if !ok {
		return ""
	}
	if strings.HasSuffix(line, "\r") {
		return "its first line ends with a Windows line ending (CRLF); save the file with Unix line endings (LF)"
	}
	interpreter, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	interpreter, _, _ = strings.Cut(interpreter, "\t")
	switch {
	case interpreter == "":
		return "its first line names no interpreter"
	case filepath.IsAbs(interpreter) && !exists(interpreter):
		return fmt.Sprintf("its interpreter %s does not exist", interpreter)
	}
	return envReason(line)
}

// shebang is the first line after "#!", at most as long as the kernel reads. An unreadable file has none.
func shebang(path string) (string, bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := io.ReadFull(f, b)
	line, ok := bytes.CutPrefix(b[:n], []byte("#!"))
	if !ok {
		return "", false
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	return string(line), true
}

// envReason is for "#!/usr/bin/env" without the name of a program.
func envReason(line string) string {
	fields := strings.Fields(line)
	if filepath.Base(fields[0]) == "env" && len(fields) == 1 {
		return "its first line names no interpreter after " + fields[0]
	}
	return ""
}

// formatReason says why a file that is there and executable is not a program.
func formatReason(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return "it is neither a program for this system nor a script with a first line like #!/bin/sh"
	}
	defer f.Close()
	return fmt.Sprintf("it is a program for another architecture (%s)", strings.ToLower(strings.TrimPrefix(f.Machine.String(), "EM_")))
}
