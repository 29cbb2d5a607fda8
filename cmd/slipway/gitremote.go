package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// remoteName is the git remote that says which app a work tree is.
const remoteName = "slipway"

// gitPath is git, "" where there is none.
func (a *app) gitPath() string {
	for _, dir := range filepath.SplitList(a.getenv("PATH")) {
		if fi, err := os.Stat(filepath.Join(dir, "git")); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 && filepath.IsAbs(dir) {
			return filepath.Join(dir, "git")
		}
	}
	return ""
}

// git runs git in the current directory for its first line of output. Its errors are told by its own first line.
func (a *app) git(ctx context.Context, args ...string) (string, error) {
	at := a.gitPath()
	if at == "" {
		return "", fmt.Errorf("git is not installed")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, at, args...)
	cmd.Env, cmd.Stderr = a.environ, &stderr
	out, err := cmd.Output()
	if err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return "", fmt.Errorf("git %s: %s", args[0], firstOf(said, err.Error()))
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}

// remote is the URL of the git remote slipway of the current directory, "" where there is none.
func (a *app) remote(ctx context.Context) string {
	out, err := a.git(ctx, "remote", "get-url", remoteName)
	if err != nil {
		return ""
	}
	return out
}

// inWorkTree tells whether the current directory is one of a git repository.
func (a *app) inWorkTree(ctx context.Context) bool {
	out, err := a.git(ctx, "rev-parse", "--is-inside-work-tree")
	return err == nil && out == "true"
}
