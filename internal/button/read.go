package button

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/appjson"
	"github.com/slipway-build/slipway/internal/fetch"
)

// A Pinned is a template at one commit, with what it says of itself. All of it is text of others.
type Pinned struct {
	Template
	Ref    fetch.Ref    // "" is the default branch, or a commit by its name
	Commit fetch.Commit // what is shown and what is built, whatever becomes of the ref
	Dir    fetch.Dir    // the directory of the repository that is the template, with its app.json; "" is the root
	App    *appjson.App
	Found  []appjson.Finding
	Readme Readme
	Bytes  int64 // of the app.json
	// Procfile tells that there is one beside the app.json.
	Procfile bool
	// Credentials are the reader's own, where it took them to read it: the app that is made of it needs them too.
	Credentials fetch.Credentials
}

// A Readme is the beginning of a template's README.
type Readme struct {
	Name string // "" is none
	Text string
	Cut  bool // there is more of it
}

// MaxReadme is how much of a README is read.
const MaxReadme = 64 << 10

// ErrNoAppJSON tells that a template has no app.json; it is wrapped in where it was looked for. The Pinned that comes
// with it has the commit all the same.
var ErrNoAppJSON = errors.New("no app.json")

// ErrLarge tells that an app.json is larger than any that is read.
var ErrLarge = errors.New("the app.json is too large")

// limits of reading a template: a server that leaves out what we do not ask for sends a few kilobytes.
func limits() fetch.Limits {
	return fetch.Limits{Archive: 32 << 20, Time: time.Minute, Stall: 15 * time.Second, Memory: 1 << 30}
}

// Read finds the commit that a template is at and reads its app.json and the beginning of its README there, and not the
// rest of the repository. Errors of package fetch tell what the repository lacks; what is wrong with the app.json is in
// Found. Credentials are of somebody who may read a private template. The zero Limits are one minute and 32 MiB.
func Read(ctx context.Context, f *fetch.Fetcher, t Template, creds fetch.Credentials, bounds fetch.Limits) (Pinned, error) {
	p, err := Resolve(ctx, f, t, creds, bounds)
	if err != nil {
		return p, err
	}
	return p.Load(ctx, f, creds, bounds)
}

// Resolve is the first half of Read: it finds the commit, and in which directory of it the template is.
func Resolve(ctx context.Context, f *fetch.Fetcher, t Template, creds fetch.Credentials, bounds fetch.Limits) (Pinned, error) {
	p := Pinned{Template: t}
	at, err := f.ResolvePath(ctx, t.request(creds, bounds), t.Path)
	if errors.Is(err, fetch.ErrNoRef) && t.Path != "" {
		return p, fmt.Errorf("%w: %s%s", err, quoted(t.Path), short(t.Path))
	}
	if err != nil {
		return p, err
	}
	p.Ref, p.Commit = at.Ref, at.Commit
	if !t.File {
		p.Dir, err = fetch.ParseDir(at.Path)
	}
	return p, err
}

func (t Template) request(creds fetch.Credentials, bounds fetch.Limits) fetch.GitRequest {
	if bounds == (fetch.Limits{}) {
		bounds = limits()
	}
	return fetch.GitRequest{URL: t.Repository, Credentials: creds, Limits: bounds}
}

// Load is the second half of Read: it reads what the template says of itself at the commit that p is pinned to.
func (p Pinned) Load(ctx context.Context, f *fetch.Fetcher, creds fetch.Credentials, bounds fetch.Limits) (Pinned, error) {
	req := p.request(creds, bounds)
	req.Ref, req.Commit, req.Dir = p.Ref, p.Commit, p.Dir
	files, err := f.Files(ctx, req, func(names []string) []fetch.FileRequest {
		p.Procfile = slices.Contains(names, "Procfile")
		return choose(names)
	})
	if err != nil {
		return p, err
	}
	for name, file := range files {
		if name != appJSON {
			text := strings.ToValidUTF8(string(file.Data), "")
			p.Readme = Readme{Name: name, Text: text, Cut: file.Size > int64(len(file.Data))}
		}
	}
	file, ok := files[appJSON]
	switch {
	case !ok:
		return p, fmt.Errorf("%w in %s at commit %.12s%s: a template has one in its root, or in the directory that the link names; its name is in lower case", ErrNoAppJSON, where(p.Template, p.Dir), p.Commit, named(p.Ref))
	case file.Size > int64(len(file.Data)):
		return p, fmt.Errorf("%w: in %s it has %d bytes, %d is the most", ErrLarge, where(p.Template, p.Dir), file.Size, appjson.MaxBytes)
	}
	p.Bytes = file.Size
	p.App, p.Found = appjson.Parse(file.Data)
	return p, nil
}

const appJSON = "app.json"

// choose asks for app.json, and for the README that forges show.
func choose(names []string) []fetch.FileRequest {
	all := []fetch.FileRequest{{Name: appJSON, Most: appjson.MaxBytes}}
	for _, ext := range []string{".md", ".markdown", ".rst", ".adoc", ".txt", ""} {
		i := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, "README"+ext) })
		if i >= 0 {
			return append(all, fetch.FileRequest{Name: names[i], Most: MaxReadme, Optional: true})
		}
	}
	return all
}

func where(t Template, dir fetch.Dir) string {
	if dir == "" {
		return t.Repository.String()
	}
	return t.Repository.String() + ", in " + quoted(string(dir)) + ","
}

func named(ref fetch.Ref) string {
	if ref == "" {
		return ""
	}
	return " of " + quoted(string(ref))
}

// short tells of a commit that is not named in full.
func short(ref string) string {
	first, _, _ := strings.Cut(ref, "/")
	if len(first) >= 7 && len(first) < 40 && strings.Trim(first, "0123456789abcdef") == "" {
		return "; a commit is named by all of its 40 digits"
	}
	return ""
}
