package platform

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/classic"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/source"
)

// classicWorkspace is where classic buildpacks have an app: many write paths below it into what they leave.
const classicWorkspace = "/app"

// modern converts the directory of a classic buildpack, below tmp. Another one stays as it is.
func (m *Machine) modern(at located, tmp string) (located, error) {
	if !classic.Is(at.dir) {
		return at, nil
	}
	if _, err := os.Stat(m.Tools.Classic); err != nil {
		return at, fmt.Errorf("it is a classic buildpack, and the program that runs those is missing: %w", err)
	}
	to, err := os.MkdirTemp(tmp, "classic-")
	if err != nil {
		return at, err
	}
	dir := filepath.Join(to, "buildpack")
	err = errors.Join(os.Chmod(to, 0o755), classic.Convert(at.dir, at.from, m.Tools.Classic, dir))
	at.dir = dir
	return at, err
}

// originOf is what the path or the URL of a buildpack says of where it is from.
func originOf(arg string, remote bool) classic.Origin {
	var o classic.Origin
	name := arg
	if remote {
		name, _, _ = strings.Cut(arg, "#")
		o.URL, _, _ = strings.Cut(name, "?") // a query may be a secret
		name = o.URL
	} else if abs, err := filepath.Abs(arg); err == nil {
		name = abs
	}
	name = path.Base(filepath.ToSlash(name))
	for _, end := range []string{".git", ".tgz", ".tar.gz", ".zip", ".tar"} {
		name = strings.TrimSuffix(name, end)
	}
	o.Name = name
	return o
}

// forges are hosts whose URLs of two parts are repositories.
func forges() []string { return []string{"github.com", "gitlab.com", "bitbucket.org", "codeberg.org"} }

// isGit tells the URL of a repository from that of a file: HTTPS://HOST/PATH.git, with #REF where it is not the default
// branch, or without .git that of a repository of a forge.
func isGit(arg string) bool {
	text, fragment, _ := strings.Cut(arg, "#")
	u, err := url.Parse(text)
	if err != nil || !isURL(arg) || strings.HasPrefix(fragment, "sha256=") {
		return false
	}
	at := strings.Trim(u.Path, "/")
	return strings.HasSuffix(at, ".git") || slices.Contains(forges(), u.Host) && strings.Count(at, "/") == 1
}

// cloneBuildpack fetches a tree of a repository: of the branch, tag or commit behind #, else of the default branch.
func (m *Machine) cloneBuildpack(ctx context.Context, tmp, arg string) (at located, err error) {
	text, ref, _ := strings.Cut(arg, "#")
	req := fetch.GitRequest{}
	if req.URL, err = fetch.ParseGitURL(text); err != nil {
		return at, err
	}
	if c, cerr := fetch.ParseCommit(ref); cerr == nil {
		req.Commit = c
	} else if req.Ref, err = fetch.ParseRef(ref); err != nil {
		return at, fmt.Errorf("behind # stands a branch, a tag or a commit: %w", err)
	}
	dir, err := os.MkdirTemp(tmp, "repository-")
	if err != nil {
		return at, err
	}
	f, err := os.Create(filepath.Join(dir, "tree.tar"))
	if err != nil {
		return at, err
	}
	commit, err := m.fetcher().Git(ctx, req, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return at, err
	}
	at = located{dir: filepath.Join(dir, "tree"), from: originOf(text, true)}
	at.from.Ref, at.from.Commit = ref, string(commit)
	if err := os.Mkdir(at.dir, 0o755); err != nil {
		return at, err
	}
	_, err = source.Unpack(ctx, source.Request{Path: f.Name(), Dest: at.dir, UID: -1, GID: -1})
	return at, errors.Join(err, os.Chmod(dir, 0o755), os.Chmod(at.dir, 0o755))
}

// hasClassic says whether a buildpack argument leads to a classic buildpack, as far as it can be told without fetching
// it: a repository is taken for one.
func hasClassic(arg string) bool {
	arg = strings.TrimPrefix(arg, prefixNamed)
	return isGit(arg) || !isURL(arg) && classic.Is(strings.TrimPrefix(arg, "file://"))
}
