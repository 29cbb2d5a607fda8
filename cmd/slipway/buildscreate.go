package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/source"
	"github.com/slipway-build/slipway/internal/transcript"
)

// createFlags say what a build is made of.
type createFlags struct {
	path, url, checksum, git, ref, commit, dir, version string
	submodules, ignored, noCache                        bool
	follow                                              followFlags
}

func (a *app) createBuildCommand() *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use: "create", Short: "Build a directory, an archive or a git commit on the build service",
		Long: `Build a directory, an archive or a git commit on the build service, follow the build
and end as it does. A directory is sent without what its project.toml excludes, as for
slipway build, and without .git and what git ignores.

` + serviceCodes,
		Example: `  slipway builds create
  slipway builds create --path ./my-app --app my-app --no-cache
  slipway builds create --source-url https://example.com/v1.tar.gz --checksum SHA256:...
  slipway builds create --git https://github.com/example/app --ref v1.2 --detach
  slipway builds create --git https://github.com/example/shop --dir services/web`,
		Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inApp(cmd.Context(), func(ctx context.Context, c *client.Client, app string) error {
				return a.createBuild(ctx, c, app, f)
			})
		},
	}
	s := cmd.Flags()
	s.SortFlags = false
	s.StringVarP(&f.path, "path", "p", "", "directory, zip or tar file of the app's source (default .)")
	s.StringVar(&f.url, "source-url", "", "https `URL` of a zip or tar file, which the service fetches")
	s.StringVar(&f.checksum, "checksum", "", "what that must have, `SHA256:HEX`")
	s.StringVar(&f.git, "git", "", "`URL` of a git repository, which the service fetches")
	s.StringVar(&f.ref, "ref", "", "its branch or tag (default: its HEAD)")
	s.StringVar(&f.commit, "commit", "", "its commit, by its full name")
	s.StringVar(&f.dir, "dir", "", "its `DIRECTORY` that alone is the app, such as services/web")
	s.BoolVar(&f.submodules, "submodules", false, "with its submodules")
	s.StringVar(&f.version, "version", "", "what the source is called, for people")
	s.BoolVar(&f.ignored, "include-ignored", false, "send what git ignores too")
	s.BoolVar(&f.noCache, "no-cache", false, "begin without what earlier builds kept")
	f.follow.add(cmd)
	return cmd
}

// check wants one source, and no flag of another.
func (f createFlags) check() error {
	given := 0
	for _, v := range []string{f.path, f.url, f.git} {
		if v != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return usagef("--path, --source-url and --git exclude each other")
	case f.git == "" && (f.ref != "" || f.commit != "" || f.dir != "" || f.submodules):
		return usagef("--ref, --commit, --dir and --submodules are for --git")
	case f.url == "" && f.checksum != "":
		return usagef("--checksum is for --source-url")
	case f.ignored && (f.url != "" || f.git != ""):
		return usagef("--include-ignored is for --path")
	}
	return nil
}

func (a *app) createBuild(ctx context.Context, c *client.Client, app string, f createFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	req := client.BuildRequest{NoCache: f.noCache, Source: client.BuildSource{Version: f.version}}
	switch {
	case f.git != "":
		req.Source.URL, req.Source.Git, req.Source.Ref, req.Source.Commit, req.Source.Dir, req.Source.Submodules = f.git, true, f.ref, f.commit, f.dir, f.submodules
	case f.url != "":
		req.Source.URL, req.Source.Checksum = f.url, f.checksum
	default:
		up, err := a.upload(ctx, c, app, firstOf(f.path, "."), f.ignored)
		if err != nil {
			return err
		}
		req.Source.URL, req.Source.Checksum = up.url, up.sum
	}
	b, err := c.CreateBuild(ctx, app, req)
	if err != nil {
		return err
	}
	return a.accepted(ctx, c, b, f.follow)
}

// An upload is a source that the service has.
type upload struct{ url, sum string }

// upload sends a directory or an archive. A directory becomes a file first, so that its size is known, and so that
// nothing is sent of one that is refused.
func (a *app) upload(ctx context.Context, c *client.Client, app, path string, ignored bool) (up upload, err error) {
	archive, err := a.archive(ctx, path, ignored)
	if err != nil {
		return up, err
	}
	defer archive.Close()
	h := sha256.New()
	size, err := io.Copy(h, archive)
	if err == nil {
		_, err = archive.Seek(0, io.SeekStart)
	}
	if err != nil {
		return up, fmt.Errorf("read the source: %w", err)
	}
	up.sum = "SHA256:" + hex.EncodeToString(h.Sum(nil))
	place, err := c.CreateSource(ctx, app)
	if err != nil {
		return up, err
	}
	p := a.newProgress("Sending the source", size)
	got, err := c.Upload(ctx, place, io.LimitReader(archive, size), size, p.at)
	p.end(err == nil)
	if err != nil {
		return up, fmt.Errorf("send the source: %w", err)
	}
	if got.Checksum != up.sum {
		return up, fmt.Errorf("send the source: the service got something else (%.80q instead of %s): try again", got.Checksum, up.sum)
	}
	up.url = place.Blob.GetURL
	return up, nil
}

// archive opens the archive of a source. That of a directory has no name any more.
func (a *app) archive(ctx context.Context, path string, ignored bool) (*os.File, error) {
	kind, err := source.KindOf(path)
	if err != nil {
		return nil, err
	}
	if kind != source.Dir {
		return os.Open(path)
	}
	f, err := os.CreateTemp(firstOf(a.getenv("TMPDIR"), os.TempDir()), "slipway-source-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	res, err := source.Pack(ctx, source.PackRequest{Dir: path, Ignored: ignored}, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if len(res.Skipped) > 0 {
		a.warn("left out because they are no files: %q", res.Skipped)
	}
	if !a.hidesOutput() {
		fmt.Fprintf(a.stderr, "Packed %d files, %s\n", res.Files, transcript.Bytes(res.Bytes))
	}
	return f, nil
}

// A progress shows how much of something has gone out: in place on a terminal, with one line at the end elsewhere.
type progress struct {
	a       *app
	what    string
	size    int64
	started time.Time
	live    bool

	mu    sync.Mutex
	shown time.Time
}

func (a *app) newProgress(what string, size int64) *progress {
	return &progress{a: a, what: what, size: size, started: time.Now(), live: !a.hidesOutput() && a.isTerminal(a.stderr) && a.paint(a.stderr).on}
}

func (p *progress) at(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.live || time.Since(p.shown) < liveEvery {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.a.stderr, "%s%s: %s of %s (%d%%)", eraseLine, p.what, transcript.Bytes(n), transcript.Bytes(p.size), n*100/max(p.size, 1))
}

// end says what it came to, if it went well, and has the next line begin where this one did.
func (p *progress) end(ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		fmt.Fprint(p.a.stderr, eraseLine)
	}
	p.live = false
	if ok && !p.a.hidesOutput() {
		fmt.Fprintf(p.a.stderr, "%s: %s in %s\n", p.what, transcript.Bytes(p.size), transcript.Duration(time.Since(p.started)))
	}
}
