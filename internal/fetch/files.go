package fetch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// An At is a commit, and how a path in a URL named it.
type At struct {
	Ref    Ref // "" is the default branch, or a commit by its name
	Commit Commit
	Path   string // what is left of the path behind the ref
}

// maxRefParts is how many parts of a path are tried as a ref.
const maxRefParts = 16

// ResolvePath finds the commit that a path such as feature/x/docs names: a branch or tag, of which the longest counts
// that the repository has, or a commit by its full name; and a path behind it. "" is the default branch. ErrNoRef tells
// that there is none. req.Ref and req.Commit do not count.
func (f *Fetcher) ResolvePath(ctx context.Context, req GitRequest, path string) (At, error) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if commit, err := ParseCommit(parts[0]); err == nil {
		return At{Commit: commit, Path: strings.Join(parts[1:], "/")}, nil
	}
	if parts[0] == "" {
		req.Ref = ""
		commit, err := f.Resolve(ctx, req)
		return At{Commit: commit}, err
	}
	var tried []At
	for n := min(len(parts), maxRefParts); n > 0; n-- {
		if ref, err := ParseRef(strings.Join(parts[:n], "/")); err == nil && ref != "" {
			tried = append(tried, At{Ref: ref, Path: strings.Join(parts[n:], "/")})
		}
	}
	if len(tried) == 0 {
		return At{}, fmt.Errorf("fetch %s: %w", req.URL, ErrNoRef)
	}
	var names []string
	for _, at := range tried {
		names = append(names, at.Ref.candidates()...)
	}
	var found At
	err := f.session(ctx, req, func(ctx context.Context, s *session) error {
		known, err := s.refs(ctx, req.URL, names)
		for _, at := range tried {
			if commit := known.commit(at.Ref); commit != "" && err == nil {
				found = at
				found.Commit, err = ParseCommit(commit)
				return err
			}
		}
		return cmp.Or(err, ErrNoRef)
	})
	return found, err
}

// refs are refs of a repository, of annotated tags with what they are at.
type refs map[string]string

func (s *session) refs(ctx context.Context, url GitURL, names []string) (refs, error) {
	args := []string{"ls-remote", "--quiet", "--", url.String()}
	for _, name := range names {
		args = append(args, name, name+"^{}")
	}
	out, err := s.run(ctx, args...)
	if err != nil {
		return nil, err
	}
	found := refs{}
	for line := range strings.Lines(out) {
		hash, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		found[name] = hash
	}
	return found, nil
}

// commit is where a ref is, "" if there is none.
func (r refs) commit(ref Ref) string {
	for _, name := range ref.candidates() {
		if hash := cmp.Or(r[name+"^{}"], r[name]); hash != "" { // of an annotated tag, the commit
			return hash
		}
	}
	return ""
}

// A FileRequest asks for a file of a directory.
type FileRequest struct {
	Name     string
	Most     int64 // bytes that are read of it
	Optional bool  // it is as good as absent when it cannot be had
}

// A File is a file of a commit.
type File struct {
	Data []byte // its first bytes
	Size int64  // of the whole file
}

const maxListing = 4 << 20 // of one directory, as git writes it

// Files reads a few files of req.Dir at req.Commit, without the rest of the repository where the server can leave
// it out: at first the names come, from whose regular files choose chooses, then one file after the other. It is bounded
// by req.Limits, as all fetches are. A file that is not there is not in the result.
func (f *Fetcher) Files(ctx context.Context, req GitRequest, choose func(names []string) []FileRequest) (map[string]File, error) {
	if _, err := ParseCommit(string(req.Commit)); err != nil {
		return nil, err
	}
	// A server may leave out all of this, files only, or nothing; or leave files out and not give them out alone.
	filters := []string{"tree:1", "blob:none", ""}
	if req.Dir != "" {
		filters = filters[1:]
	}
	r := reading{url: req.URL, dir: req.Dir, choose: choose}
	var err error
	for _, filter := range filters {
		err = f.session(ctx, req, func(ctx context.Context, s *session) error {
			s.filter = filter
			return r.files(ctx, s, req)
		})
		if !r.refused {
			break
		}
	}
	if limit, ok := errors.AsType[*LimitError](err); ok && r.at != "" {
		err = &LimitError{limit.URL, r.at + ": " + limit.Text}
	}
	if err != nil {
		return nil, err
	}
	return r.found, nil
}

// reading is what one call of Files knows.
type reading struct {
	url     GitURL
	dir     Dir
	choose  func([]string) []FileRequest
	found   map[string]File
	at      string // the file that comes just now
	refused bool
}

func (r *reading) files(ctx context.Context, s *session, req GitRequest) error {
	r.found, r.at, r.refused = map[string]File{}, "", false
	commit, err := s.fetch(ctx, req)
	if err != nil {
		r.refused = s.filter != "" && noFilter(err)
		return err
	}
	blobs, err := s.directory(ctx, commit, r.dir)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(blobs))
	for name := range blobs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, want := range r.choose(names) {
		hash, ok := blobs[want.Name]
		if !ok {
			continue
		}
		r.at = want.Name
		file, err := s.blob(ctx, r.url, hash, want.Most)
		switch {
		case err == nil:
			r.found[want.Name] = file
		case want.Optional && !errors.Is(err, ErrNoRef):
			return nil // a file that is too large has ended the session
		default:
			r.refused = errors.Is(err, ErrNoRef) && s.filter != ""
			return err
		}
	}
	r.at = ""
	return nil
}

// noFilter finds out whether git failed because the server does not leave out what it was asked to.
func noFilter(err error) bool {
	git, ok := errors.AsType[*gitError](err)
	return ok && strings.Contains(git.said, "filter") && (strings.Contains(git.said, "not supported") || strings.Contains(git.said, "max depth"))
}

// offline keeps git from fetching what a filter has left out.
func offline() []string { return []string{"GIT_ALLOW_PROTOCOL=", "GIT_NO_LAZY_FETCH=1"} }

// noDir is ErrNoDir with what is not there.
func noDir(dir Dir) error {
	return fmt.Errorf("%w: %.200q (links to directories and submodules are none)", ErrNoDir, string(dir))
}

// directory lists the regular files of a directory, with the hashes of their content.
func (s *session) directory(ctx context.Context, commit Commit, dir Dir) (map[string]string, error) {
	was := s.network
	s.network = offline()
	defer func() { s.network = was }()
	out := &head{most: maxListing}
	if err := s.pipe(ctx, out, "ls-tree", "-z", "--full-tree", string(commit)+":"+string(dir)); err != nil {
		if out.over {
			return nil, &LimitError{Text: fmt.Sprintf("the directory has more than %d bytes of names, the limit", maxListing)}
		}
		if _, ok := errors.AsType[*gitError](err); ok && context.Cause(ctx) == nil {
			return nil, noDir(dir)
		}
		return nil, err
	}
	files := map[string]string{}
	for line := range strings.SplitSeq(out.kept.String(), "\x00") {
		facts, name, _ := strings.Cut(line, "\t")
		fields := strings.Fields(facts)
		if len(fields) == 3 && (fields[0] == "100644" || fields[0] == "100755") && fields[1] == "blob" {
			files[name] = fields[2]
		}
	}
	return files, nil
}

// blob reads the first bytes of a file, which comes by itself where it did not come with the commit.
func (s *session) blob(ctx context.Context, url GitURL, hash string, most int64) (File, error) {
	if _, err := ParseCommit(hash); err != nil { // hashes of files are written as those of commits
		return File{}, err
	}
	was := s.network
	defer func() { s.network = was }()
	s.network = offline()
	if _, err := s.run(ctx, "cat-file", "-e", hash); err != nil {
		s.network = was
		args := append(s.fetchArgs(), "--", url.String(), "+"+hash+":refs/slipway/file")
		if _, err := s.run(ctx, args...); err != nil {
			return File{}, noRef(err)
		}
		s.network = offline()
	}
	text, err := s.run(ctx, "cat-file", "-s", hash)
	if err != nil {
		return File{}, err
	}
	var f File
	if _, err := fmt.Sscan(text, &f.Size); err != nil || f.Size < 0 {
		return File{}, fmt.Errorf("read the size of a file: %.40q", text)
	}
	out := &head{most: most}
	err = s.pipe(ctx, out, "cat-file", "blob", hash)
	f.Data = out.kept.Bytes()
	if out.over {
		err = context.Cause(ctx) // git was stopped by us
	}
	return f, err
}

// head keeps the first bytes of what is written to it, and refuses more.
type head struct {
	kept bytes.Buffer // not embedded: it would read past the limit
	most int64
	over bool
}

func (h *head) Write(b []byte) (int, error) {
	if left := h.most - int64(h.kept.Len()); int64(len(b)) > left {
		h.over = true
		h.kept.Write(b[:max(left, 0)])
		return 0, io.ErrShortWrite
	}
	return h.kept.Write(b)
}
