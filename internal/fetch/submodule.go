package fetch

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

const maxNesting = 4

// modules fetches a tree with its submodules into one tar. The limits are of all of them together.
type modules struct {
	fetcher *Fetcher
	root    GitRequest
	left    Limits
	count   int // of submodules
	tw      *tar.Writer
}

func (f *Fetcher) withSubmodules(ctx context.Context, req GitRequest, w io.Writer) (Commit, error) {
	limits := req.Limits.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Time, limits.tooSlow(req.URL.String()))
	defer cancel()
	m := &modules{fetcher: f, root: req, left: limits, tw: tar.NewWriter(w)}
	commit, err := m.add(ctx, req, "", 0)
	if err == nil {
		err = m.tw.Close()
	}
	return commit, err
}

// A module is a submodule and where it goes.
type module struct {
	link
	url GitURL
}

// add writes a tree below a directory, and then what its submodules have.
func (m *modules) add(ctx context.Context, req GitRequest, prefix string, depth int) (Commit, error) {
	if m.left.Files <= 0 || m.left.Bytes <= 0 { // 0 would be the default
		return "", &LimitError{m.root.URL.String(), "the commit and its submodules have more files or bytes together than the limit"}
	}
	req.Limits = m.left
	var subs []module
	commit, err := m.fetcher.tree(ctx, req, func(ctx context.Context, s *session, commit Commit, found listing) (err error) {
		if err := m.spend(sizeOf(s.repo()), found); err != nil {
			return err
		}
		if subs, err = s.modules(ctx, req, commit, found.links); err != nil {
			return err
		}
		return m.copy(ctx, s, commit, req.Dir, prefix)
	})
	if err != nil {
		return "", err
	}
	if m.count += len(subs); m.count > maxLinks || len(subs) > 0 && depth == maxNesting {
		return "", &LimitError{m.root.URL.String(), fmt.Sprintf("it has more than %d submodules, or they are more than %d deep, the limits", maxLinks, maxNesting)}
	}
	for _, sub := range subs {
		next := GitRequest{URL: sub.url, Commit: sub.commit, Credentials: m.credentials(sub.url)}
		if _, err := m.add(ctx, next, prefix+sub.path+"/", depth+1); err != nil {
			return "", fmt.Errorf("submodule %.200q: %w", prefix+sub.path, err)
		}
	}
	return commit, nil
}

// spend takes what one tree costs from what is left.
func (m *modules) spend(archive int64, found listing) error {
	if m.left.Archive -= archive; m.left.Archive <= 0 {
		return m.root.Limits.withDefaults().tooLarge(m.root.URL.String())
	}
	m.left.Bytes -= found.bytes
	m.left.Files -= found.files
	return nil
}

// credentials are those of the app's own repository, for others on the same host by the same protocol.
func (m *modules) credentials(u GitURL) Credentials {
	if u.user != nil || u.ssh != m.root.URL.ssh || u.Host() != m.root.URL.Host() {
		return Credentials{}
	}
	return m.root.Credentials.of(m.root.URL.user)
}

// copy writes a tree's entries below a directory.
func (m *modules) copy(ctx context.Context, s *session, commit Commit, dir Dir, prefix string) error {
	return recopy(m.tw, func(name string) (string, bool) { return prefix + name, true }, func(w io.Writer) error {
		return s.archive(ctx, commit, dir, w)
	})
}

// recopy copies the entries of the tar that write writes, by other names; those that rename does not want are left out.
func recopy(tw *tar.Writer, rename func(string) (string, bool), write func(io.Writer) error) error {
	r, w := io.Pipe()
	done := make(chan error, 1) // one value
	go func() {
		err := copyTar(tw, tar.NewReader(r), rename)
		if err == nil {
			_, err = io.Copy(io.Discard, r) // what follows the end
		}
		r.CloseWithError(err)
		done <- err
	}()
	err := write(w)
	w.CloseWithError(err) // nil is the end
	if copied := <-done; err == nil {
		err = copied
	}
	return err
}

func copyTar(tw *tar.Writer, tr *tar.Reader, rename func(string) (string, bool)) error {
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read git's archive: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader { // the commit's name, for one tree only
			continue
		}
		name, ok := rename(h.Name)
		if !ok {
			continue
		}
		h.Name = name
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write the source: %w", err)
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return fmt.Errorf("write the source: %w", err)
		}
	}
}

// modules finds out where the submodules of a commit are.
func (s *session) modules(ctx context.Context, req GitRequest, commit Commit, links []link) ([]module, error) {
	if len(links) == 0 {
		return nil, nil
	}
	out, err := s.run(ctx, "config", "--blob", string(commit)+":.gitmodules", "--null", "--get-regexp", `^submodule\..*\.(path|url)$`)
	if err != nil {
		return nil, fmt.Errorf("the commit has submodules, and no .gitmodules that says where they are")
	}
	paths, urls := map[string]string{}, map[string]string{} // by name; and the name by path
	for entry := range strings.SplitSeq(out, "\x00") {
		key, value, _ := strings.Cut(entry, "\n")
		if name, ok := strings.CutSuffix(key, ".path"); ok {
			paths[value] = name
		} else if name, ok := strings.CutSuffix(key, ".url"); ok {
			urls[name] = value
		}
	}
	var all []module
	for _, l := range links {
		url := urls[paths[req.Dir.of(l.path)]]
		if url == "" {
			return nil, fmt.Errorf("the commit has the submodule %.200q, and .gitmodules does not say where it is", l.path)
		}
		u, err := req.URL.relative(url)
		if err != nil {
			return nil, fmt.Errorf("the URL of the submodule %.200q in .gitmodules: %w", l.path, err)
		}
		all = append(all, module{l, u})
	}
	return all, nil
}

// relative is the URL that a submodule of the repository has: one of its own, or one that begins with ./ or ../ and
// goes from the repository's.
func (g GitURL) relative(s string) (GitURL, error) {
	if !strings.HasPrefix(s, "./") && !strings.HasPrefix(s, "../") {
		return ParseGitURL(s)
	}
	var head, path string
	sep := ":" // of host:path
	if i := strings.Index(g.text, "://"); i >= 0 {
		sep = "/"
		i += len("://")
		at := strings.Index(g.text[i:], "/") // a repository's URL has a path
		head, path = g.text[:i+at], g.text[i+at+1:]
	} else {
		head, path, _ = strings.Cut(g.text, ":")
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for {
		if rest, ok := strings.CutPrefix(s, "./"); ok {
			s = rest
		} else if rest, ok := strings.CutPrefix(s, "../"); ok {
			if len(parts) == 0 {
				return GitURL{}, fmt.Errorf("%.100q leads out of the host of %s", s, g)
			}
			s, parts = rest, parts[:len(parts)-1]
		} else {
			break
		}
	}
	return ParseGitURL(head + sep + strings.Join(append(parts, s), "/"))
}
