package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// A Source is an index that a user has named.
type Source struct {
	Name string `toml:"name" json:"name"`
	URL  string `toml:"url" json:"url"` // of a git repository; or an absolute path of a directory or a tar
}

// IsGit tells a repository from a directory or a tar.
func (s Source) IsGit() bool {
	return strings.Contains(s.URL, "://") || scpLike.MatchString(s.URL) || isRepository(s.URL)
}

var (
	scpLike    = regexp.MustCompile(`^[\w.-]+@[\w.-]+:`)
	sourceName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
)

func isRepository(path string) bool {
	for _, p := range []string{".git", "HEAD"} {
		if _, err := os.Stat(filepath.Join(path, p)); err == nil {
			return true
		}
	}
	return false
}

// A Mirror has images fetched from elsewhere: an address that begins with From begins with To instead.
type Mirror struct {
	From string `toml:"from" json:"from"`
	To   string `toml:"to" json:"to"`
}

// Official is the public index.
func Official() Source {
	return Source{Name: "official", URL: "https://github.com/buildpacks/registry-index"}
}

// settings is the file registries.toml.
type settings struct {
	Registries []Source `toml:"registries"`
	Mirrors    []Mirror `toml:"mirrors,omitempty"`
}

// A Set is the indexes of one directory: <dir>/registries.toml names them in the order in which they are asked, and
// <dir>/<name>/ has what was read of each. Without the file it is the official one. Safe for
// concurrent use, but for Add and Remove.
type Set struct {
	dir string
	settings

	kept    string // the index of Keep
	current func() (*Index, error)

	mu   sync.Mutex
	open map[string]*opened
}

type opened struct {
	index *Index
	info  os.FileInfo
}

// OpenSet reads which indexes there are; none is opened before it is asked.
func OpenSet(dir string) (*Set, error) {
	s := &Set{dir: dir, open: map[string]*opened{}}
	b, err := os.ReadFile(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		s.Registries = []Source{Official()}
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of indexes: %w", err)
	}
	d := toml.NewDecoder(bytes.NewReader(b))
	if err := d.DisallowUnknownFields().Decode(&s.settings); err != nil {
		return nil, fmt.Errorf("%s: %w", s.file(), detail(err))
	}
	for _, src := range s.Registries {
		if err := src.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.file(), err)
		}
	}
	return s, nil
}

// detail adds the line to an error of TOML.
func detail(err error) error {
	if e, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(e.Errors) > 0 {
		line, _ := e.Errors[0].Position()
		return fmt.Errorf("line %d: unknown key %s", line, strings.Join(e.Errors[0].Key(), "."))
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, col := e.Position()
		return fmt.Errorf("line %d, column %d: %w", line, col, err)
	}
	return err
}

func (s Source) check() error {
	if !sourceName.MatchString(s.Name) {
		return fmt.Errorf("index name %.80q: want lower-case letters, digits, '.', '_' and '-'", s.Name)
	}
	if s.URL == "" || strings.HasPrefix(s.URL, "-") || strings.ContainsAny(s.URL, "\n\x00") {
		return fmt.Errorf("index %s: %.80q is no URL and no path", s.Name, s.URL)
	}
	if !s.IsGit() && !filepath.IsAbs(s.URL) {
		return fmt.Errorf("index %s: %.80q is neither a URL nor an absolute path", s.Name, s.URL)
	}
	return nil
}

func (s *Set) file() string             { return filepath.Join(s.dir, "registries.toml") }
func (s *Set) dirOf(name string) string { return filepath.Join(s.dir, name) }

func (s *Set) source(name string) (Source, bool) {
	for _, src := range s.Registries {
		if src.Name == name {
			return src, true
		}
	}
	return Source{}, false
}

func (s *Set) unknownIndex(name string) error {
	var have []string
	for _, src := range s.Registries {
		have = append(have, src.Name)
	}
	return fmt.Errorf("there is no index %.80q: there are %s (slipway registry add makes one)", name, strings.Join(have, ", "))
}

// Add appends an index. It is not synced yet.
func (s *Set) Add(src Source) error {
	if err := src.check(); err != nil {
		return err
	}
	if _, ok := s.source(src.Name); ok {
		return fmt.Errorf("there is an index %s already: slipway registry remove %s takes it away", src.Name, src.Name)
	}
	s.Registries = append(slices.Clip(s.Registries), src)
	return s.save()
}

// Remove takes an index away, with what was read of it.
func (s *Set) Remove(name string) error {
	if _, ok := s.source(name); !ok {
		return s.unknownIndex(name)
	}
	s.Registries = slices.DeleteFunc(slices.Clone(s.Registries), func(src Source) bool { return src.Name == name })
	return errors.Join(s.save(), os.RemoveAll(s.dirOf(name)))
}

func (s *Set) save() error {
	b, err := toml.Marshal(s.settings)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("write the list of indexes: %w", err)
	}
	tmp := s.file() + ".new"
	if err := errors.Join(os.WriteFile(tmp, b, 0o644), os.Rename(tmp, s.file())); err != nil {
		return fmt.Errorf("write the list of indexes: %w", err)
	}
	return nil
}

// Index opens an index by its name. It stays the Set's to close; after a sync the next call gives the new one. One that
// was never synced is an error that wraps fs.ErrNotExist.
func (s *Set) Index(name string) (*Index, error) {
	if _, ok := s.source(name); !ok {
		return nil, s.unknownIndex(name)
	}
	if name == s.kept {
		return s.current()
	}
	path := filepath.Join(s.dirOf(name), "model")
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("index %s was never synced (slipway registry sync): %w", name, err)
	}
	if o := s.open[name]; o != nil && os.SameFile(o.info, info) && o.info.ModTime().Equal(info.ModTime()) {
		return o.index, nil
	}
	x, err := Open(path)
	if err != nil {
		return nil, err
	}
	x.Synced = info.ModTime()
	s.open[name] = &opened{x, info} // the one before goes when nobody uses it: its file closes itself
	return x, nil
}

// A Resolution is the image that a buildpack's name means.
type Resolution struct {
	Buildpack string    `json:"buildpack"`
	Version   string    `json:"version"`
	Image     string    `json:"image"` // HOST/REPOSITORY@sha256:DIGEST, of a mirror where one is named
	Address   string    `json:"-"`     // Image as the index has it
	Index     string    `json:"index"`
	Revision  string    `json:"revision,omitempty"`
	Synced    time.Time `json:"synced"`
	Yanked    bool      `json:"yanked,omitempty"` // its author has withdrawn it; only an exact version finds it
}

// Prefix begins the URN of a buildpack in an index.
const Prefix = "urn:cnb:registry:"

// ErrUnknown is what an UnknownError is.
var ErrUnknown = errors.New("no such buildpack")

// An UnknownError is a name that no index has.
type UnknownError struct {
	Name    Name
	Indexes []string
	Near    []string
}

func (e *UnknownError) Error() string {
	if len(e.Indexes) == 0 {
		return fmt.Sprintf("no buildpack %s: there is no index (slipway registry add)", e.Name)
	}
	text := fmt.Sprintf("no buildpack %s in index %s", e.Name, strings.Join(e.Indexes, ", "))
	if len(e.Near) > 0 {
		text += "; there is " + strings.Join(e.Near, ", ")
	}
	return text
}

func (e *UnknownError) Unwrap() error { return ErrUnknown }

// Lookup finds a buildpack in the first index that has it; only, where it is not empty, is the one index that is asked. It
// does not sync: an index that never was is an error that wraps fs.ErrNotExist.
func (s *Set) Lookup(n Name, only string) (Buildpack, *Index, error) { return s.lookup(n, only, false) }

// lookup passes over indexes that were never synced where it is told to.
func (s *Set) lookup(n Name, only string, known bool) (Buildpack, *Index, error) {
	unknown := &UnknownError{Name: n}
	for _, src := range s.Registries {
		if only != "" && src.Name != only {
			continue
		}
		x, err := s.Index(src.Name)
		if known && errors.Is(err, fs.ErrNotExist) {
			unknown.Indexes = append(unknown.Indexes, src.Name)
			continue
		}
		if err != nil {
			return Buildpack{}, nil, err
		}
		b, ok, err := x.Get(n)
		if ok || err != nil {
			return b, x, err
		}
		unknown.Indexes = append(unknown.Indexes, src.Name)
		unknown.Near = append(unknown.Near, x.Near(n)...)
	}
	if len(unknown.Indexes) == 0 && only != "" {
		return Buildpack{}, nil, s.unknownIndex(only)
	}
	return Buildpack{}, nil, unknown
}

// Resolve finds the image of ref, "ns/name[@version]" with or without Prefix, where Lookup finds the buildpack.
func (s *Set) Resolve(ref, only string) (Resolution, error) { return s.resolve(ref, only, false) }

// ResolveKnown is Resolve among the indexes that were synced.
func (s *Set) ResolveKnown(ref string) (Resolution, error) { return s.resolve(ref, "", true) }

func (s *Set) resolve(ref, only string, known bool) (Resolution, error) {
	asked, err := ParseRef(ref)
	if err != nil {
		return Resolution{}, err
	}
	b, x, err := s.lookup(asked.Name, only, known)
	if err != nil {
		return Resolution{}, err
	}
	v, err := b.Choose(asked.Want)
	if err != nil {
		return Resolution{}, fmt.Errorf("index %s: %w", x.Name, err)
	}
	return Resolution{
		Buildpack: asked.Name.String(), Version: v.Version, Image: s.Mirrored(v.Address), Address: v.Address,
		Index: x.Name, Revision: x.Revision, Synced: x.Synced, Yanked: v.Yanked,
	}, nil
}

// fresh is how old an index may be that is not asked again for what it lacks.
const fresh = time.Minute

// Find is Resolve that syncs where it has to: what was never synced, and when nothing is found, what was not synced just
// now. What is known is found without the network.
func (s *Set) Find(ctx context.Context, ref, only string) (Resolution, error) {
	r, err := s.Resolve(ref, only)
	if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNoVersion) {
		return r, err
	}
	synced := false
	for _, src := range s.Registries {
		x, ierr := s.Index(src.Name)
		if only != "" && src.Name != only || src.Name == s.kept || ierr == nil && time.Since(x.Synced) < fresh {
			continue
		}
		if _, serr := s.Sync(ctx, src.Name, false); serr != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return r, serr // there is nothing to go on with
			}
			return r, fmt.Errorf("%w (and what is new is not known: %w)", err, serr)
		}
		synced = true
	}
	if !synced {
		return r, err
	}
	return s.Resolve(ref, only)
}

// Mirrored is where an address of an index is fetched from: the first mirror whose From it begins with, at the end of a
// part, is applied.
func (s *Set) Mirrored(address string) string {
	for _, m := range s.Mirrors {
		for _, a := range []string{address, strings.Replace(address, "index.docker.io/", "docker.io/", 1)} {
			if rest, ok := strings.CutPrefix(a, m.From); ok && (rest == "" || strings.ContainsAny(rest[:1], "/@") || strings.HasSuffix(m.From, "/")) {
				return m.To + rest
			}
		}
	}
	return address
}
