package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// maxExecD is the largest output of an exec.d executable, in bytes.
const maxExecD = cnb.MaxDescriptor

// execD runs the exec.d executables of all layers and sets the variables that they give.
func (s *launch) execD(process cnb.ProcessType) error {
	files, err := s.files("exec.d", process)
	if err != nil {
		return err
	}
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil && fi.IsDir() {
			continue // a link to a directory
		}
		vars, err := s.runExecD(f)
		if err != nil {
			return err
		}
		for k, v := range vars {
			s.env.Set(k, v)
		}
	}
	return nil
}

// runExecD runs one executable, which writes TOML to file descriptor 3 (buildpack, "Exec.d"). Something that
// it left running in the background does not keep the launch waiting for the end of that output.
func (s *launch) runExecD(file string) (map[string]string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for %s: %w", file, err)
	}
	defer r.Close()
	cmd := exec.Command(file)
	cmd.Dir = s.app
	cmd.Env = s.env.Environ()
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", file, err)
	}
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(io.LimitReader(r, maxExecD+1))
		if len(b) > maxExecD { // nobody reads on: do not let the writer wait for ever
			cmd.Process.Kill()
		}
		done <- result{b, err}
	}()
	waitErr := cmd.Wait()
	r.SetReadDeadline(time.Now().Add(time.Second))
	out := <-done
	switch {
	case len(out.b) > maxExecD:
		return nil, fmt.Errorf("run %s: its output has more than %d bytes", file, maxExecD)
	case waitErr != nil:
		return nil, fmt.Errorf("run %s: %w", file, waitErr)
	case out.err != nil && !errors.Is(out.err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("read the output of %s: %w", file, out.err)
	}
	return cnb.DecodeExecD(file, out.b)
}
