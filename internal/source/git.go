package source

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// GitInfo is what the files of a git repository say about the checked-out state. It is read from them without
// running git, so that no hook and no command in the repository's configuration is run.
type GitInfo struct {
	Commit string   `json:"commit,omitempty"`
	Branch string   `json:"branch,omitempty"`
	Tags   []string `json:"tags,omitempty"`   // of that commit, sorted
	Remote string   `json:"remote,omitempty"` // origin's URL without credentials
}

// Project is the project metadata of a source from git, in the form that pack gives it.
func (g *GitInfo) Project() cnb.ProjectMetadata {
	if g == nil || g.Commit == "" {
		return cnb.ProjectMetadata{}
	}
	describe := g.Commit
	if len(g.Tags) > 0 {
		describe = g.Tags[len(g.Tags)-1]
	}
	md := map[string]any{}
	var refs []any
	for _, r := range append(slices.Clone(g.Tags), g.Branch) {
		if r != "" {
			refs = append(refs, r)
		}
	}
	if refs != nil {
		md["refs"] = refs
	}
	if g.Remote != "" {
		md["url"] = g.Remote
	}
	return cnb.ProjectMetadata{Source: &cnb.ProjectSource{
		Type: "git", Version: map[string]any{"commit": g.Commit, "describe": describe}, Metadata: md,
	}}
}

// Git reads the repository that dir is in, at it or above it; a worktree's or submodule's .git file is followed.
// Call it with the rights of the user who named dir, not as root. nil means that there is none.
func Git(dir string) *GitInfo {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	for {
		if g := gitAt(dir); g != nil {
			return g
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil
		}
		dir = up
	}
}

func gitAt(dir string) *GitInfo {
	fi, err := os.Lstat(filepath.Join(dir, ".git"))
	if err != nil {
		return nil
	}
	if fi.IsDir() {
		return gitBelow(dir)
	}
	b, err := cnb.ReadFile(dir, ".git", 4096)
	if err != nil {
		return nil
	}
	target, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "gitdir: ")
	if !ok {
		return nil
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(dir, target)
	}
	private, err := os.OpenRoot(target)
	if err != nil {
		return nil
	}
	defer private.Close()
	common := private
	if b, err := cnb.ReadFileIn(private, "commondir", 4096); err == nil {
		c := strings.TrimSpace(string(b))
		if !filepath.IsAbs(c) {
			c = filepath.Join(target, c)
		}
		if common, err = os.OpenRoot(c); err != nil {
			return nil
		}
		defer common.Close()
	}
	return readGit(private, common)
}

// gitBelow reads dir's own .git directory and nothing outside it: safe for root on other people's files.
func gitBelow(dir string) *GitInfo {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil
	}
	defer root.Close()
	git, err := root.OpenRoot(".git")
	if err != nil {
		return nil
	}
	defer git.Close()
	return readGit(git, git)
}

const maxRefs = 16 << 20

func readGit(private, common *os.Root) *GitInfo {
	head, err := cnb.ReadFileIn(private, "HEAD", 4096)
	if err != nil {
		return nil
	}
	g := &GitInfo{}
	packed, peeled := packedRefs(common)
	h := strings.TrimSpace(string(head))
	if ref, ok := strings.CutPrefix(h, "ref: "); ok {
		if !isRef(ref) {
			return nil
		}
		g.Branch = strings.TrimPrefix(ref, "refs/heads/")
		h = looseRef(common, ref)
		if h == "" {
			h = packed[ref]
		}
	}
	if isHash(h) {
		g.Commit = h
		g.Tags = tags(common, h, packed, peeled)
	}
	if b, err := cnb.ReadFileIn(common, "config", 1<<20); err == nil {
		g.Remote = cleanURL(originURL(b))
	}
	return g
}

// isRef tells whether s is a ref that can be looked up as a file: printable, below refs/, without "..".
func isRef(s string) bool {
	if !strings.HasPrefix(s, "refs/") || len(s) > 512 || strings.Contains(s, "..") || path.Clean(s) != s {
		return false
	}
	for _, c := range s {
		if c <= ' ' || c == 0x7f || strings.ContainsRune(`~^:?*[\`, c) {
			return false
		}
	}
	return true
}

func isHash(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

func looseRef(common *os.Root, ref string) string {
	b, err := cnb.ReadFileIn(common, ref, 4096)
	if err != nil {
		return ""
	}
	if h := strings.TrimSpace(string(b)); isHash(h) {
		return h
	}
	return ""
}

// packedRefs reads packed-refs: refs, and what annotated tags point to.
func packedRefs(common *os.Root) (refs, peeled map[string]string) {
	refs, peeled = map[string]string{}, map[string]string{}
	b, err := cnb.ReadFileIn(common, "packed-refs", maxRefs)
	if err != nil {
		return
	}
	last := ""
	for line := range bytes.Lines(b) {
		s := strings.TrimSpace(string(line))
		if h, ok := strings.CutPrefix(s, "^"); ok {
			if isHash(h) && last != "" {
				peeled[last] = h
			}
			continue
		}
		h, ref, _ := strings.Cut(s, " ")
		last = ""
		if isHash(h) && isRef(ref) {
			refs[ref], last = h, ref
		}
	}
	return
}

// tags are the names of the tags of a commit.
func tags(common *os.Root, commit string, packed, peeled map[string]string) []string {
	const prefix = "refs/tags/"
	all := map[string]string{}
	for ref, h := range packed {
		if p := peeled[ref]; p != "" {
			h = p
		}
		all[ref] = h
	}
	n := 0
	fs.WalkDir(common.FS(), "refs/tags", func(p string, d fs.DirEntry, err error) error {
		if n++; n > 10000 || err != nil {
			return fs.SkipAll
		}
		if d.Type().IsRegular() && isRef(p) {
			if h := looseRef(common, p); h != "" {
				all[p] = peel(common, h)
			}
		}
		return nil
	})
	var out []string
	for ref, h := range all {
		if name, ok := strings.CutPrefix(ref, prefix); ok && h == commit {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	if len(out) > 100 {
		out = out[:100]
	}
	return out
}

// peel is the commit of an annotated tag that lies in a loose object, else h itself.
func peel(common *os.Root, h string) string {
	b, err := cnb.ReadFileIn(common, path.Join("objects", h[:2], h[2:]), 64<<10)
	if err != nil {
		return h
	}
	z, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return h
	}
	defer z.Close()
	text, err := io.ReadAll(io.LimitReader(z, 512))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return h
	}
	kind, body, ok := strings.Cut(string(text), "\x00")
	if !ok || !strings.HasPrefix(kind, "tag ") {
		return h
	}
	first, _, _ := strings.Cut(body, "\n")
	if o, ok := strings.CutPrefix(first, "object "); ok && isHash(o) {
		return o
	}
	return h
}

// originURL finds the URL of the remote origin in a git configuration. Included files are not read.
func originURL(config []byte) string {
	section := false
	s := bufio.NewScanner(bytes.NewReader(config))
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if strings.HasPrefix(line, "[") {
			section = strings.HasPrefix(line, `[remote "origin"]`)
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if section && ok && strings.EqualFold(strings.TrimSpace(key), "url") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// cleanURL takes out of a remote's URL what may be secret: password and user, unless the user is an ssh
// account's name, query and fragment. What is no URL, a path on this machine among others, becomes "".
func cleanURL(s string) string {
	for _, c := range s {
		if c <= ' ' || c == 0x7f {
			return ""
		}
	}
	if len(s) > 2048 {
		return ""
	}
	if !strings.Contains(s, "://") {
		user, rest := "", s // user@host:path
		if i := strings.LastIndex(s, "@"); i >= 0 {
			user, rest = s[:i], s[i+1:]
		}
		host, file, ok := strings.Cut(rest, ":")
		if !ok || host == "" || file == "" || strings.ContainsAny(user+host, ":/@") {
			return ""
		}
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme == "file" {
		return ""
	}
	switch {
	case u.User != nil && u.Scheme == "ssh":
		u.User = url.User(u.User.Username())
	default:
		u.User = nil
	}
	u.RawQuery, u.Fragment, u.ForceQuery = "", "", false
	return u.String()
}
