package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/index"
)

// The registry API, version 1, as registry.buildpacks.io has it: its fields, and beside them what it lacks (targets, api,
// yanked as it is, pages).

// registryPath begins the paths of that API.
const registryPath = "/api/v1/"

// A registryEntry is a version of a buildpack. ID and times are null where the index was not made here.
type registryEntry struct {
	ID           *build.ID               `json:"id"`
	Namespace    string                  `json:"namespace"`
	Name         string                  `json:"name"`
	Version      string                  `json:"version"`
	Addr         string                  `json:"addr"`
	Yanked       bool                    `json:"yanked"`
	Description  string                  `json:"description"`
	Homepage     string                  `json:"homepage"`
	Licenses     []string                `json:"licenses"`
	Stacks       []string                `json:"stacks"`
	Targets      []build.BuildpackTarget `json:"targets"`
	Platforms    []string                `json:"platforms"` // of the image
	Keywords     []string                `json:"keywords"`
	API          string                  `json:"api"`
	CreatedAt    *stamp                  `json:"created_at"`
	UpdatedAt    *stamp                  `json:"updated_at"`
	VersionMajor string                  `json:"version_major"`
	VersionMinor string                  `json:"version_minor"`
	VersionPatch string                  `json:"version_patch"`
}

// A registryBuildpack is its newest version, and all of them, the newest first.
type registryBuildpack struct {
	Latest   registryEntry     `json:"latest"`
	Versions []registryVersion `json:"versions"`
}

type registryVersion struct {
	Version string `json:"version"`
	Yanked  bool   `json:"yanked"`
	Link    string `json:"_link"`
}

// known is what the record has of the images of buildpacks, by address and version.
type known map[string]build.BuildpackImage

func knownOf(all []build.BuildpackImage) known {
	k := known{}
	for _, b := range all {
		k[b.Buildpack+"@"+b.Version+" "+b.Address] = b
	}
	return k
}

func (k known) entry(n index.Name, v index.Version) registryEntry {
	e := registryEntry{Namespace: n.NS, Name: n.Name, Version: v.Version, Addr: v.Address, Yanked: v.Yanked}
	if b, ok := k[n.String()+"@"+v.Version+" "+v.Address]; ok {
		f := b.Facts
		e.ID, e.Description, e.Homepage, e.Licenses, e.Stacks, e.Targets, e.Platforms, e.Keywords, e.API = &b.ID, cmp.Or(f.Description, f.Name), f.Homepage, f.Licenses, f.Stacks, f.Targets, f.Platforms, f.Keywords, f.API
		e.CreatedAt, e.UpdatedAt = when(b.CreatedAt), when(b.UpdatedAt)
	}
	for _, list := range []*[]string{&e.Licenses, &e.Stacks, &e.Platforms, &e.Keywords} {
		if *list == nil {
			*list = []string{}
		}
	}
	if e.Targets == nil {
		e.Targets = []build.BuildpackTarget{}
	}
	core, _, _ := strings.Cut(v.Version, "+")
	core, _, _ = strings.Cut(core, "-")
	if part := strings.Split(core, "."); len(part) == 3 {
		e.VersionMajor, e.VersionMinor, e.VersionPatch = part[0], part[1], part[2]
	}
	return e
}

// buildpack is a buildpack of the index. Its latest is the newest release that is not yanked, or else the newest.
func (s *server) registryBuildpack(c *call, k known, b index.Buildpack) registryBuildpack {
	newest := b.Newest()
	latest, err := b.Choose("")
	if err != nil {
		latest = newest[0]
	}
	out := registryBuildpack{Latest: k.entry(b.Name, latest), Versions: make([]registryVersion, len(newest))}
	link := s.at(c.Request, registryPath+"buildpacks/"+b.Name.String()+"/").String()
	for i, v := range newest {
		out.Versions[i] = registryVersion{v.Version, v.Yanked, link + v.Version}
	}
	return out
}

// registered finds the buildpack of the path.
func (s *server) registered(c *call) (b index.Buildpack, err error) {
	if err := s.noIndex(); err != nil {
		return b, err
	}
	unknown := &problem{status: http.StatusNotFound, ID: "not_found", Message: "Unknown buildpack"}
	n, err := index.ParseName(c.PathValue("ns") + "/" + c.PathValue("name"))
	if err != nil {
		return b, unknown
	}
	b, ok, err := s.Registrar.Index().Get(n)
	if err == nil && (!ok || len(b.Versions) == 0) {
		err = unknown
	}
	return b, err
}

func (s *server) registryOne(ctx context.Context, c *call) (out registryBuildpack, err error) {
	b, err := s.registered(c)
	if err != nil {
		return out, err
	}
	images, err := s.Store.BuildpackImages(ctx, b.Name.String())
	return s.registryBuildpack(c, knownOf(images), b), err
}

func (s *server) registryVersionOf(ctx context.Context, c *call) (out registryEntry, err error) {
	b, err := s.registered(c)
	if err != nil {
		return out, err
	}
	i := slices.IndexFunc(b.Versions, func(v index.Version) bool { return v.Version == c.PathValue("version") })
	if i < 0 {
		return out, &problem{status: http.StatusNotFound, ID: "not_found", Message: "Unknown buildpack"}
	}
	images, err := s.Store.BuildpackImages(ctx, b.Name.String())
	return knownOf(images).entry(b.Name, b.Versions[i]), err
}

// The sizes of a page of a search.
const (
	pageSize    = 100
	maxPageSize = 1000
	maxMatches  = 200 // bytes of what is searched for
)

func (s *server) searchRoute() endpoint {
	e := give(http.StatusOK, s.registrySearch)
	e.params = []param{
		{"query", "matches", "string", "Words, all of which are in what is found."},
		{"query", "language", "string", "A language that it is for, by its name, description or keywords."},
		{"query", "target", "string", "OS/ARCH: those that are known not to be for it are left out."},
		{"query", "page", "integer", "Which page: 1 is the first."},
		{"query", "per_page", "integer", "Buildpacks of a page: 100, and at most 1000."},
	}
	return e
}

// registrySearch finds buildpacks by their names, and behind those by what their images say of themselves.
func (s *server) registrySearch(ctx context.Context, c *call) ([]registryBuildpack, error) {
	if err := s.noIndex(); err != nil {
		return nil, err
	}
	q := c.URL.Query()
	want := index.Query{Text: strings.TrimSpace(q.Get("matches")), Language: strings.TrimSpace(q.Get("language")), Target: strings.TrimSpace(q.Get("target"))}
	if all := want.Text + want.Language + want.Target; all == "" || len(all) > maxMatches {
		return nil, badRequest("Missing search string 'matches'")
	}
	page, err := pageNumber(q.Get("page"), 1, 1<<30)
	if err != nil {
		return nil, badRequest("page: " + err.Error())
	}
	per, err := pageNumber(q.Get("per_page"), pageSize, maxPageSize)
	if err != nil {
		return nil, badRequest("per_page: " + err.Error())
	}
	images, err := s.Store.AllBuildpackImages(ctx)
	if err != nil {
		return nil, err
	}
	x := s.Registrar.Index()
	hits := x.Find(want, factsOf(images))
	from := min((page-1)*per, len(hits))
	to := min(from+per, len(hits))
	c.w.Header().Set("Total-Count", strconv.Itoa(len(hits)))
	if to < len(hits) {
		next := s.at(c.Request, c.URL.Path)
		q.Set("page", strconv.Itoa(page+1))
		next.RawQuery = q.Encode()
		c.w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", next))
	}
	k := knownOf(images)
	out := []registryBuildpack{}
	for _, hit := range hits[from:to] {
		b, _, err := x.Get(hit.Name)
		if err != nil {
			return nil, err
		}
		if len(b.Versions) > 0 {
			out = append(out, s.registryBuildpack(c, k, b))
		}
	}
	return out, nil
}

// factsOf is what the newest image of each buildpack says of itself.
func factsOf(images []build.BuildpackImage) index.Facts {
	known := index.Facts{}
	for _, b := range images { // the oldest of each first
		f := index.Fact{Version: b.Version, Name: b.Facts.Name, Description: b.Facts.Description, Keywords: b.Facts.Keywords, Targets: b.Facts.Platforms, Seen: b.CreatedAt}
		if len(b.Facts.Targets) > 0 {
			f.Targets = nil
		}
		for _, t := range b.Facts.Targets {
			f.Targets = append(f.Targets, strings.TrimSuffix(t.OS+"/"+t.Arch, "/"))
		}
		known[b.Buildpack] = f
	}
	return known
}

func pageNumber(s string, none, most int) (int, error) {
	if s == "" {
		return none, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("want a number from 1 to %d", most)
	}
	return n, nil
}
