// Package site is the web server for a directory of files that no one changes while it is served. It is
// neither a proxy nor configurable beyond Options.
package site

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Options of a site.
type Options struct {
	SPA bool // a path that is no file gets index.html, so that the page's own router sees it
}

// Site serves the files below a root. Safe for concurrent use.
type Site struct {
	root *os.Root // refuses links out of the directory
	opt  Options

	mu   sync.Mutex
	tags map[string]string // name -> ETag; a name is hashed once
}

// New serves root, which the caller closes after the last request.
func New(root *os.Root, opt Options) *Site {
	return &Site{root: root, opt: opt, tags: map[string]string{}}
}

func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	name, slash := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/"), strings.HasSuffix(r.URL.Path, "/")
	switch found, kind := s.find(cmp.Or(name, "."), slash); {
	case hidden(name):
		s.missing(w, r)
	case kind == file:
		s.send(w, r, found, http.StatusOK)
	case kind == wantsSlash:
		redirect(w, "/"+name+"/", r.URL.RawQuery)
	case kind == wantsNoSlash:
		redirect(w, "/"+name, r.URL.RawQuery)
	case s.opt.SPA && path.Ext(name) == "" && s.isFile("index.html"):
		s.send(w, r, "index.html", http.StatusOK)
	default:
		s.missing(w, r)
	}
}

type kind int

const (
	nothing kind = iota
	file
	wantsSlash
	wantsNoSlash
)

// find is the file that answers for a path: itself, a directory's index.html, or with .html appended. Names
// have one address each; the other forms are redirects.
func (s *Site) find(name string, slash bool) (string, kind) {
	if !fs.ValidPath(name) {
		return "", nothing
	}
	info, err := s.root.Stat(name)
	switch {
	case err == nil && info.Mode().IsRegular():
		if slash {
			return "", wantsNoSlash
		}
		return name, file
	case err == nil && info.IsDir():
		index := path.Join(name, "index.html")
		switch {
		case !s.isFile(index):
			return "", nothing // no listing
		case !slash && name != ".":
			return "", wantsSlash
		}
		return index, file
	case s.isFile(name + ".html"):
		if slash {
			return "", wantsNoSlash
		}
		return name + ".html", file
	}
	return "", nothing
}

func (s *Site) isFile(name string) bool {
	info, err := s.root.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// hidden says that a path is not for the public: dotfiles but for /.well-known, and the files that tell a
// builder what to do, which lie beside index.html where a site is the whole app.
func hidden(name string) bool {
	for i, seg := range strings.Split(name, "/") {
		if strings.HasPrefix(seg, ".") && !(i == 0 && seg == ".well-known") || seg == "node_modules" {
			return true
		}
	}
	switch name {
	case "Procfile", "project.toml", "Aptfile", "package.json", "package-lock.json":
		return true
	}
	return false
}

// redirect stays on this host: a path that begins with two slashes would name another.
func redirect(w http.ResponseWriter, to, query string) {
	to = (&url.URL{Path: "/" + strings.TrimLeft(to, "/")}).EscapedPath()
	if query != "" {
		to += "?" + query
	}
	w.Header().Set("Location", to)
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusMovedPermanently)
}

// missing is 404.html or a line of text.
func (s *Site) missing(w http.ResponseWriter, r *http.Request) {
	if s.isFile("404.html") {
		s.send(w, r, "404.html", http.StatusNotFound)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	http.Error(w, "404 not found", http.StatusNotFound)
}

// send writes a file, or its compressed sibling where there is one and the client takes it.
func (s *Site) send(w http.ResponseWriter, r *http.Request, name string, status int) {
	h := w.Header()
	h.Set("Content-Type", contentType(name))
	h.Set("Cache-Control", cacheControl(name))
	sent := name
	for _, c := range []struct{ coding, ext string }{{"br", ".br"}, {"gzip", ".gz"}} {
		if !s.isFile(name + c.ext) {
			continue
		}
		h.Set("Vary", "Accept-Encoding")
		if sent == name && accepts(r.Header.Get("Accept-Encoding"), c.coding) {
			sent = name + c.ext
			h.Set("Content-Encoding", c.coding)
		}
	}
	f, err := s.root.Open(sent)
	if err != nil {
		http.Error(w, "cannot read the file", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.Error(w, "cannot read the file", http.StatusInternalServerError)
		return
	}
	if status != http.StatusOK {
		h.Set("Content-Length", fmt.Sprint(info.Size()))
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			io.Copy(w, f)
		}
		return
	}
	if tag, err := s.tag(sent, f); err == nil {
		h.Set("ETag", tag)
	}
	http.ServeContent(w, r, sent, modified(info.ModTime()), f)
}

// modified is the time to tell a client. Reproducible images give each file the same time, and a browser
// that asks "changed since?" with it would keep an old file for ever; then the ETag alone has to do.
func modified(t time.Time) time.Time {
	if t.Year() <= 1985 {
		return time.Time{}
	}
	return t
}

// tag is the file's content in short.
func (s *Site) tag(name string, f io.ReadSeeker) (string, error) {
	s.mu.Lock()
	t, ok := s.tags[name]
	s.mu.Unlock()
	if ok {
		return t, nil
	}
	h := sha256.New()
	_, err := io.Copy(h, f)
	if _, serr := f.Seek(0, io.SeekStart); err != nil || serr != nil {
		return "", errors.Join(err, serr)
	}
	t = `"` + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:15]) + `"`
	s.mu.Lock()
	s.tags[name] = t
	s.mu.Unlock()
	return t, nil
}

// hashed matches names that bundlers give to files whose content never changes: app.3f2a9c1b.js (hex) and
// index-BfK3jd92.css (eight letters and digits).
var hashed = regexp.MustCompile(`[.-]([0-9a-f]{8,64}|[A-Za-z0-9_]{8})\.[a-z0-9]+$`)

// immutable says that a name carries a hash of its content. A date or a word is none: a hash has digits and
// letters, and upper case where it is not hex.
func immutable(base string) bool {
	m := hashed.FindStringSubmatch(base)
	if m == nil || !strings.ContainsAny(m[1], "0123456789") {
		return false
	}
	if strings.Trim(m[1], "0123456789abcdef") == "" {
		return strings.ContainsAny(m[1], "abcdef")
	}
	return strings.ContainsAny(m[1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}

// cacheControl lets a browser keep what has a content hash in its name, and makes it ask for the rest.
func cacheControl(name string) string {
	base := path.Base(name)
	if immutable(base) {
		return "public, max-age=31536000, immutable"
	}
	switch path.Ext(base) {
	case ".html", ".htm", ".json", ".xml", ".txt", ".webmanifest", "":
		return "no-cache"
	case ".js", ".mjs":
		if base == "sw.js" || base == "service-worker.js" {
			return "no-cache"
		}
	}
	return "public, max-age=3600"
}

// contentType does not depend on what the image has in /etc: a run image has no table of types.
func contentType(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if t, ok := types()[ext]; ok {
		return t
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "application/octet-stream"
}

// accepts reads Accept-Encoding well enough: a coding counts unless its q is 0.
func accepts(header, coding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), coding) {
			q := strings.ReplaceAll(params, " ", "")
			return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}
