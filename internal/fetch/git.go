package fetch

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A GitRequest says which tree of which repository is wanted.
type GitRequest struct {
	URL         GitURL
	Ref         Ref    // where Commit is looked for, if the server does not give out commits by name
	Commit      Commit // "": what Ref is
	Dir         Dir    // which alone counts: nothing beside it is in what comes of the commit
	Submodules  bool   // with what is in them, from where .gitmodules says
	Credentials Credentials
	Limits      Limits
}

// Git fetches a commit and writes its tree to w as a tar: all that was committed, whatever .gitattributes say about
// exports, with the ends of lines that a checkout would have. Submodules that were not asked for are empty directories,
// and files of git LFS are what is committed, their pointers. The tree's files and bytes are counted before any is
// unpacked. Of a directory, names begin below it. What was written is worth nothing when the error is not nil.
func (f *Fetcher) Git(ctx context.Context, req GitRequest, w io.Writer) (Commit, error) {
	if req.Submodules {
		return f.withSubmodules(ctx, req, w)
	}
	return f.tree(ctx, req, func(ctx context.Context, s *session, commit Commit, _ listing) error {
		return s.archive(ctx, commit, req.Dir, w)
	})
}

// tree fetches and counts a tree, and lets do read it while the repository is there.
func (f *Fetcher) tree(ctx context.Context, req GitRequest, do func(context.Context, *session, Commit, listing) error) (Commit, error) {
	var commit Commit
	err := f.session(ctx, req, func(ctx context.Context, s *session) (err error) {
		if commit, err = s.fetch(ctx, req); err != nil {
			return err
		}
		if sizeOf(s.repo()) > s.limits.disk() {
			return s.limits.tooLarge(req.URL.String())
		}
		s.network = []string{"GIT_ALLOW_PROTOCOL="} // from here on
		found, err := s.survey(ctx, commit, req.Dir)
		if err != nil {
			return err
		}
		return do(ctx, s, commit, found)
	})
	return commit, err
}

// archive writes the tree as a tar. An error of w is returned as it is.
func (s *session) archive(ctx context.Context, commit Commit, dir Dir, w io.Writer) error {
	if dir != "" {
		return s.below(ctx, commit, dir, w)
	}
	return s.whole(ctx, w, string(commit))
}

// whole has git write what args name as a tar.
func (s *session) whole(ctx context.Context, w io.Writer, args ...string) error {
	out := &kept{w: w}
	err := s.pipe(ctx, out, append([]string{"archive", "--format=tar"}, args...)...)
	if out.err != nil {
		return out.err
	}
	return err
}

// below writes a directory as a tar. git is asked for it as a part of the commit, and not as a tree by itself, which would
// have neither the commit's time nor the attributes that stand above the directory.
func (s *session) below(ctx context.Context, commit Commit, dir Dir, w io.Writer) error {
	tw := tar.NewWriter(w)
	err := recopy(tw, func(name string) (string, bool) {
		rest, ok := strings.CutPrefix(name, string(dir)+"/")
		return rest, ok && rest != ""
	}, func(w io.Writer) error {
		return s.whole(ctx, w, string(commit), "--", ":(top,literal)"+string(dir))
	})
	if err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("write the source: %w", err)
	}
	return nil
}

// Resolve tells which commit a ref is at. ErrNoRef tells that there is no such ref.
func (f *Fetcher) Resolve(ctx context.Context, req GitRequest) (Commit, error) {
	var commit Commit
	err := f.session(ctx, req, func(ctx context.Context, s *session) error {
		known, err := s.refs(ctx, req.URL, req.Ref.candidates())
		if err != nil {
			return err
		}
		if at := known.commit(req.Ref); at != "" {
			commit, err = ParseCommit(at)
			return err
		}
		return ErrNoRef
	})
	return commit, err
}

// The conditions of a repository that callers tell apart.
var (
	ErrNoRef  = errors.New("the repository has no such branch, tag or commit")
	ErrNoDir  = errors.New("the commit has no such directory")
	ErrDenied = errors.New("the repository is not there, or wants other credentials")
)

// A session is one fetch from one repository.
type session struct {
	fetcher *Fetcher
	binary  string // git
	limits  Limits
	dir     string   // goes when the session ends
	network []string // environment by which git reaches the repository
	filter  string   // what is left out of what comes, as git writes it; "" is nothing
}

func (s *session) repo() string { return filepath.Join(s.dir, "repo") }

// disk is what a repository may have on disk: what came, and its index.
func (l Limits) disk() int64 { return l.Archive + l.Archive/2 + 1<<20 }

// attributes outrank those of the tree: what is built is the commit, all of it and as it was committed.
const attributes = "* -export-ignore -export-subst\n"

// session makes an empty repository with a way to the network, and removes it after do.
func (f *Fetcher) session(ctx context.Context, req GitRequest, do func(context.Context, *session) error) (err error) {
	limits := req.Limits.withDefaults()
	name := req.URL.String()
	creds := req.Credentials.of(req.URL.user)
	secrets := append(secretsOf(req.URL.user), creds.Password)
	if req.URL.ssh && f.KnownHosts == "" {
		return fmt.Errorf("fetch %s: this service fetches nothing by ssh: the operator has given it no file of known hosts", name)
	}
	binary, err := exec.LookPath(cmp.Or(f.GitPath, "git"))
	if err == nil {
		binary, err = filepath.Abs(binary)
	}
	if err != nil {
		return fmt.Errorf("fetch %s: find git: %w", name, err)
	}
	dir, err := os.MkdirTemp(f.Dir, "fetch-")
	if err != nil {
		return fmt.Errorf("fetch %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("fetch %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Time, limits.tooSlow(name))
	defer cancel()
	ctx, over := context.WithCancelCause(ctx)
	defer over(nil)
	s := &session{fetcher: f, binary: binary, limits: limits, dir: dir}
	why, end, err := s.connect(ctx, req.URL, creds, over)
	if err != nil {
		return fail(ctx, name, err, secrets)
	}
	defer end()
	watched := s.watch(ctx, func() { over(limits.tooLarge(name)) })
	err = s.init(ctx, req.Commit)
	if err == nil {
		err = do(ctx, s)
	}
	if err == nil {
		over(nil)
		<-watched
		return nil
	}
	defer func() { <-watched }()
	defer over(nil)
	return s.explain(ctx, name, err, why(), secrets)
}

// explain makes the error of a session. What the network was refused says more than what git made of it.
func (s *session) explain(ctx context.Context, url string, err, why error, secrets []string) error {
	err = s.plainer(url, err)
	limit, isLimit := errors.AsType[*LimitError](err)
	switch {
	case context.Cause(ctx) != nil:
	case isLimit:
		return &LimitError{url, limit.Text}
	case errors.Is(err, ErrNoRef):
		return fmt.Errorf("fetch %s: %w", url, ErrNoRef)
	case errors.Is(err, ErrNoDir): // which one is in it
		return fmt.Errorf("fetch %s: %w", url, err)
	case errors.Is(err, ErrDenied):
		return fmt.Errorf("fetch %s: %w", url, ErrDenied)
	case why != nil:
		if stalled, ok := errors.AsType[*LimitError](why); ok {
			return stalled
		}
		return fail(ctx, url, why, secrets)
	}
	return fail(ctx, url, err, secrets)
}

// plainer says in our words what git says.
func (s *session) plainer(url string, err error) error {
	git, ok := errors.AsType[*gitError](err)
	if !ok {
		return err
	}
	if git.verb == "fetch" && sizeOf(s.repo()) >= s.limits.Archive { // the kernel was faster than our watch: see start
		return s.limits.tooLarge(url)
	}
	for _, c := range []struct {
		said  string
		means error
	}{
		{"Host key verification failed.", errors.New("the server's host key is not the one in the operator's file of known hosts")},
		{"could not read Username", ErrDenied},
		{"could not read Password", ErrDenied},
		{"Authentication failed", ErrDenied},
		{"Permission denied (", ErrDenied},
		{"Repository not found", ErrDenied},
		{"/' not found", ErrDenied},
	} {
		if strings.Contains(git.said, c.said) {
			return c.means
		}
	}
	return err
}

// connect gives git a way to the repository and to nothing else. why tells afterwards what was refused.
func (s *session) connect(ctx context.Context, u GitURL, creds Credentials, over context.CancelCauseFunc) (why func() error, end func(), err error) {
	if err := os.Mkdir(filepath.Join(s.dir, "home"), 0o700); err != nil {
		return nil, nil, err
	}
	if u.ssh {
		end, err := s.connectSSH(ctx, u, creds)
		return func() error { return nil }, end, err
	}
	p, err := startProxy(ctx, s.fetcher, u.String(), s.limits, over, func(prompt string) (string, bool) { return creds.answer(u.Host(), prompt) })
	if err != nil {
		return nil, nil, err
	}
	s.network = []string{"GIT_ALLOW_PROTOCOL=https", "https_proxy=" + p.address(), "no_proxy="}
	ca, err := s.authorities()
	if err != nil {
		p.stop()
		return nil, nil, err
	}
	if ca != "" {
		s.network = append(s.network, "GIT_SSL_CAINFO="+ca)
	}
	if creds.Password != "" {
		askpass := filepath.Join(s.dir, askpassName)
		// The link leads to the file that runs, also after an upgrade has put another in its place.
		if err := os.Symlink(fmt.Sprintf("/proc/%d/exe", os.Getpid()), askpass); err != nil {
			p.stop()
			return nil, nil, err
		}
		s.network = append(s.network, "GIT_ASKPASS="+askpass, envAskpass+"="+p.address())
	}
	return p.why, p.stop, nil
}

// authorities is the file of those that git is to trust, "" for the system's.
func (s *session) authorities() (string, error) {
	switch f := s.fetcher; {
	case f.CAFile != "":
		return filepath.Abs(f.CAFile)
	case len(f.CA) > 0:
		at := filepath.Join(s.dir, "ca.pem")
		return at, os.WriteFile(at, f.CA, 0o600)
	}
	return "", nil
}

func (s *session) init(ctx context.Context, commit Commit) error {
	format := "sha1"
	if len(commit) == 64 {
		format = "sha256"
	}
	if _, err := s.run(ctx, "init", "--quiet", "--bare", "--template=", "--object-format="+format, s.repo()); err != nil {
		return err
	}
	info := filepath.Join(s.repo(), "info")
	if err := os.MkdirAll(info, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(info, "attributes"), []byte(attributes), 0o600)
}

const fetchedRef = "refs/slipway/source"

// fetch brings the commit, alone where the server gives it out alone.
func (s *session) fetch(ctx context.Context, req GitRequest) (Commit, error) {
	args := s.fetchArgs()
	url := req.URL.String()
	alone := func(what string) error {
		_, err := s.run(ctx, append(slices.Clone(args), "--depth=1", "--", url, "+"+what+":"+fetchedRef)...)
		return noRef(err)
	}
	if req.Commit == "" {
		if err := alone(req.Ref.name()); err != nil {
			return "", err
		}
		out, err := s.run(ctx, "rev-parse", "--verify", "--quiet", fetchedRef+"^{commit}")
		if err != nil {
			return "", err
		}
		return ParseCommit(out)
	}
	err := alone(string(req.Commit))
	if errors.Is(err, ErrNoRef) { // for some servers a commit is not there when no ref is at it
		refs := []string{"+refs/heads/*:refs/slipway/heads/*", "+refs/tags/*:refs/slipway/tags/*"}
		if req.Ref != "" {
			refs = []string{"+" + req.Ref.name() + ":" + fetchedRef}
		}
		_, err = s.run(ctx, append(append(args, "--", url), refs...)...)
		err = noRef(err)
	}
	if err != nil {
		return "", err
	}
	if kind, err := s.run(ctx, "cat-file", "-t", string(req.Commit)); err != nil || kind != "commit" {
		if cause := context.Cause(ctx); cause != nil {
			return "", cause
		}
		return "", ErrNoRef
	}
	return req.Commit, nil
}

func (s *session) fetchArgs() []string {
	args := []string{"fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-gc", "--no-write-fetch-head"}
	if s.filter != "" {
		args = append(args, "--filter="+s.filter)
	}
	return args
}

// noRef finds out whether git failed because the server does not have, or does not give, what was asked for.
func noRef(err error) error {
	git, ok := errors.AsType[*gitError](err)
	for _, said := range []string{"couldn't find remote ref", "not our ref", "unadvertised object"} {
		if ok && strings.Contains(git.said, said) {
			return ErrNoRef
		}
	}
	return err
}

// watch calls over when the repository grows over its limit on disk. The channel is closed when it has ended, with ctx.
func (s *session) watch(ctx context.Context, over func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if sizeOf(s.repo()) > s.limits.disk() {
				over()
				return
			}
		}
	}()
	return done
}

// sizeOf adds up the files below a directory that changes meanwhile.
func sizeOf(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // gone since it was listed
		}
		if fi, err := d.Info(); err == nil {
			size += fi.Size()
		}
		return nil
	})
	return size
}

// kept remembers the error of a writer.
type kept struct {
	w   io.Writer
	err error
}

func (k *kept) Write(b []byte) (int, error) {
	n, err := k.w.Write(b)
	if err != nil {
		k.err = err
	}
	return n, err
}
