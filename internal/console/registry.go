package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/index"
)

// builtin remembers for a minute what the default builder brings: to look means to read an image.
type builtin struct {
	mu  sync.Mutex
	at  time.Time
	all []Buildpack
}

func (c *Console) builtins(ctx context.Context) ([]Buildpack, error) {
	if c.Builtin == nil {
		return nil, nil
	}
	c.built.mu.Lock()
	defer c.built.mu.Unlock()
	if time.Since(c.built.at) < time.Minute {
		return c.built.all, nil
	}
	all, err := c.Builtin(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	c.built.at, c.built.all = time.Now(), all // where there is no builder yet there are none
	return all, nil
}

// An entry is a buildpack in the list.
type entry struct {
	ID          string
	Version     string // the newest
	Description string
	Index       bool // of the service's index
	Builder     bool // of the default builder
	Yanked      bool // all versions are
	Builds      int  // here, in 30 days
	Judged      int
	Passed      int
	rank        int
}

type buildpacksData struct {
	Query    string
	Entries  []entry
	Found    int
	Page     int
	Pages    int
	Keeps    bool // the service has an index
	IndexURL string
}

const entriesShown = 50

func (c *Console) buildpacksPage(ctx context.Context, v *visit) error {
	query := v.URL.Query().Get("q")
	query = query[:min(len(query), 200)]
	page, err := v.pageNumber()
	if err != nil {
		return err
	}
	all, err := c.entries(ctx, v)
	if err != nil {
		return err
	}
	all = searched(all, query)
	d := buildpacksData{Query: query, Found: len(all), Page: page, Pages: pagesOf(len(all), entriesShown), Keeps: c.Registrar != nil}
	d.IndexURL = c.at(v.Request, "/"+string(build.IndexName)+".git").String()
	d.Entries = slice(all, page, entriesShown)
	return v.page(http.StatusOK, "buildpacks", "Buildpacks", d)
}

// entries are all buildpacks that are known: of the index, of the builder, and those that builds here had.
func (c *Console) entries(ctx context.Context, v *visit) ([]entry, error) {
	by := map[string]*entry{}
	of := func(id string) *entry {
		if by[id] == nil {
			by[id] = &entry{ID: id}
		}
		return by[id]
	}
	if err := c.indexed(ctx, of); err != nil {
		return nil, err
	}
	builtin, err := c.builtins(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range builtin {
		e := of(b.ID)
		e.Builder = true
		e.Version, e.Description = cmp.Or(e.Version, b.Version), cmp.Or(e.Description, b.Description)
	}
	eco, err := c.trends.of(ctx, v.actor, 30)
	if err != nil {
		return nil, err
	}
	for _, p := range eco.Packs {
		e := of(p.ID)
		e.Version = cmp.Or(e.Version, p.Version)
		e.Builds, e.Judged, e.Passed = e.Builds+p.Builds(), e.Judged+p.Judged(), e.Passed+p.Passed
	}
	all := make([]entry, 0, len(by))
	for _, e := range by {
		all = append(all, *e)
	}
	return all, nil
}

func (c *Console) indexed(ctx context.Context, of func(string) *entry) error {
	if c.Registrar == nil {
		return nil
	}
	images, err := c.Store.AllBuildpackImages(ctx)
	if err != nil {
		return err
	}
	x := c.Registrar.Index()
	for id := range x.Names() {
		n, err := index.ParseName(id)
		if err != nil {
			continue
		}
		b, _, err := x.Get(n)
		if err != nil || len(b.Versions) == 0 {
			return err
		}
		e := of(id)
		e.Index, e.Version = true, b.Newest()[0].Version
		e.Yanked = !slices.ContainsFunc(b.Versions, func(v index.Version) bool { return !v.Yanked })
	}
	for _, i := range images {
		if e := of(i.Buildpack); e.Index && (e.Description == "" || i.Version == e.Version) {
			e.Description = cmp.Or(i.Facts.Description, i.Facts.Name)
		}
	}
	return nil
}

// searched are those that have all words in name or description, the best first.
func searched(all []entry, query string) (out []entry) {
	words := strings.Fields(strings.ToLower(query))
	for _, e := range all {
		if e.Version == "" && !e.Index && !e.Builder && e.Builds == 0 {
			continue // only its image is known, and no index names it any more
		}
		name, text := strings.ToLower(e.ID), strings.ToLower(e.ID+" "+e.Description)
		fits := true
		for _, w := range words {
			fits = fits && strings.Contains(text, w)
		}
		if !fits {
			continue
		}
		_, short, _ := strings.Cut(name, "/")
		switch whole := strings.Join(words, " "); {
		case whole == "":
		case short == whole || name == whole:
			e.rank = 0
		case strings.HasPrefix(short, whole):
			e.rank = 1
		case strings.Contains(name, whole):
			e.rank = 2
		default:
			e.rank = 3
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b entry) int { return cmp.Or(a.rank-b.rank, b.Builds-a.Builds, cmp.Compare(a.ID, b.ID)) })
	return out
}

// A version is a line of a buildpack's page.
type versionView struct {
	Version  string
	Yanked   bool
	Index    bool
	Builder  bool
	Address  string
	Added    time.Time
	Facts    build.BuildpackFacts
	Did      *performance // here, in 30 days; nil: nothing
	Platform string
}

type buildpackData struct {
	ID          string
	Description string
	Homepage    string
	Facts       build.BuildpackFacts // of the newest version of which something is known
	Versions    []versionView
	All         performance
	Uses        []use
	InIndex     bool
}

// A use is an app whose newest build that succeeded had the buildpack.
type use struct {
	App     build.AppName
	Version string
	Number  int64
}

func (c *Console) buildpackPage(ctx context.Context, v *visit) error {
	d := buildpackData{ID: v.PathValue("id")} // which need not be a name of an index: an app's own buildpack may have no namespace
	for _, fill := range []func(context.Context, *visit, *buildpackData) error{c.fromIndex, c.fromBuilder, c.fromBuilds} {
		if err := fill(ctx, v, &d); err != nil {
			return err
		}
	}
	if len(d.Versions) == 0 {
		return nowhere(fmt.Sprintf("Neither this service’s index, nor its builder, nor a build of yours has a buildpack %.200q.", d.ID))
	}
	return v.page(http.StatusOK, "buildpack", d.ID, d)
}

func (c *Console) fromIndex(ctx context.Context, _ *visit, d *buildpackData) error {
	n, err := index.ParseName(d.ID)
	if c.Registrar == nil || err != nil {
		return nil
	}
	b, ok, err := c.Registrar.Index().Get(n)
	if err != nil || !ok {
		return err
	}
	images, err := c.Store.BuildpackImages(ctx, n.String())
	if err != nil {
		return err
	}
	d.InIndex = true
	for _, one := range b.Newest() {
		view := versionView{Version: one.Version, Yanked: one.Yanked, Index: true, Address: one.Address}
		for _, i := range images {
			if i.Version == one.Version && i.Address == one.Address {
				view.Added, view.Facts = i.CreatedAt, i.Facts
			}
		}
		if d.Facts.API == "" && view.Facts.API != "" {
			d.Facts = view.Facts
		}
		d.Versions = append(d.Versions, view)
	}
	d.Description, d.Homepage = cmp.Or(d.Facts.Description, d.Facts.Name), web(d.Facts.Homepage)
	return nil
}

// web lets a URL through that a link may lead to.
func web(s string) string {
	if strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") {
		return s
	}
	return ""
}

// version finds or adds a line.
func (d *buildpackData) version(text string) *versionView {
	for i := range d.Versions {
		if d.Versions[i].Version == text {
			return &d.Versions[i]
		}
	}
	d.Versions = append(d.Versions, versionView{Version: text})
	return &d.Versions[len(d.Versions)-1]
}

func (c *Console) fromBuilder(ctx context.Context, _ *visit, d *buildpackData) error {
	all, err := c.builtins(ctx)
	for _, b := range all {
		if b.ID == d.ID {
			d.version(b.Version).Builder = true
			d.Description, d.Homepage = cmp.Or(d.Description, b.Description), cmp.Or(d.Homepage, web(b.Homepage))
		}
	}
	return err
}

// fromBuilds is how the buildpack did here, and which apps have it now.
func (c *Console) fromBuilds(ctx context.Context, v *visit, d *buildpackData) error {
	eco, err := c.trends.of(ctx, v.actor, 30)
	if err != nil {
		return err
	}
	for _, p := range eco.Packs {
		if p.ID == d.ID {
			d.version(p.Version).Did = &p
			d.All = merge(d.All, p)
		}
	}
	all, names, err := c.trends.seen(ctx, v.actor)
	if err != nil {
		return err
	}
	seen := map[build.ID]bool{}
	for _, f := range slices.Backward(all) {
		name, ok := names[f.app]
		if !ok || seen[f.app] || f.state != build.Succeeded {
			continue
		}
		seen[f.app] = true
		for _, p := range f.parts {
			if id, version, _ := strings.Cut(p.buildpack, "@"); id == d.ID {
				d.Uses = append(d.Uses, use{name, version, f.number})
			}
		}
	}
	slices.SortFunc(d.Uses, func(a, b use) int { return cmp.Compare(a.App, b.App) })
	return nil
}

// merge adds up versions; of durations there is no sum.
func merge(a, b performance) performance {
	a.Passed, a.App, a.Platform, a.Other = a.Passed+b.Passed, a.App+b.App, a.Platform+b.Platform, a.Other+b.Other
	a.Tried, a.Detected = a.Tried+b.Tried, a.Detected+b.Detected
	days := slices.Clone(b.Days)
	for i := range a.Days {
		d := &days[i]
		d.Passed, d.App, d.Platform = d.Passed+a.Days[i].Passed, d.App+a.Days[i].App, d.Platform+a.Days[i].Platform
		d.P50 = max(d.P50, a.Days[i].P50)
	}
	a.Days = days
	return a
}
