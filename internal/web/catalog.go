package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// An Offer is a version of a buildpack that apps can choose: of the default builder, or of the service's own index.
type Offer struct {
	ID, Version string
	Description string
	Homepage    string
	Licenses    []string
	Yanked      bool
	CreatedAt   time.Time // zero: not known
}

// The catalog is what apps can choose, in the shape of the buildpack registry that the Platform API's clients ask:
// whoever names this service to them as their registry finds here what a build here can use.

type catalogEntry struct {
	ID          string        `json:"id"`
	Namespace   string        `json:"namespace"`
	Name        string        `json:"name"`
	Category    string        `json:"category"`
	Description string        `json:"description"`
	BlobURL     string        `json:"blob_url"` // what an app names to have it
	Support     catalogPlace  `json:"support"`
	Source      catalogSource `json:"source"`
}

type catalogPlace struct {
	Method  string `json:"method"`
	Address string `json:"address"`
}

type catalogSource struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

func entryOf(o Offer) catalogEntry {
	namespace, name, _ := strings.Cut(o.ID, "/")
	e := catalogEntry{
		ID: o.ID, Namespace: namespace, Name: name, Category: "buildpacks", Description: o.Description, BlobURL: buildpackURN + o.ID,
		Support: catalogPlace{"website", o.Homepage}, Source: catalogSource{"website", o.Homepage},
	}
	if o.Homepage == "" {
		e.Support.Method = "unsupported"
	}
	return e
}

func (s *server) offers(ctx context.Context) ([]Offer, error) {
	if s.Offers == nil {
		return nil, nil
	}
	all, err := s.Offers(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for buildpacks: %w", err)
	}
	return all, nil
}

// catalog finds buildpacks by namespaces, names, and a part of the description.
func (s *server) catalog(ctx context.Context, c *call) ([]catalogEntry, error) {
	all, err := s.offers(ctx)
	if err != nil {
		return nil, err
	}
	out := []catalogEntry{}
	for _, o := range all {
		twice := func(e catalogEntry) bool { return e.ID == o.ID } // another version
		if e := entryOf(o); e.fits(c.URL.Query()) && !slices.ContainsFunc(out, twice) {
			out = append(out, e)
		}
	}
	return out, nil
}

func (e catalogEntry) fits(q url.Values) bool {
	for key, value := range map[string]string{"in[namespace][]": e.Namespace, "in[name][]": e.Name} {
		if q.Has(key) && !slices.Contains(q[key], value) {
			return false
		}
	}
	return strings.Contains(strings.ToLower(e.Description), strings.ToLower(q.Get("like[description]")))
}

// offered are the versions of the buildpack of the path.
func (s *server) offered(ctx context.Context, c *call) ([]Offer, error) {
	all, err := s.offers(ctx)
	if err != nil {
		return nil, err
	}
	id := c.PathValue("id")
	all = slices.DeleteFunc(slices.Clone(all), func(o Offer) bool { return o.ID != id })
	if len(all) == 0 {
		return nil, &problem{http.StatusNotFound, "not_found", fmt.Sprintf("neither the default builder nor the service's index has a buildpack %.80s", id)}
	}
	return all, nil
}

func (s *server) catalogEntry(ctx context.Context, c *call) (v catalogEntry, err error) {
	all, err := s.offered(ctx, c)
	if err != nil {
		return v, err
	}
	return entryOf(all[0]), nil
}

// A revision is a version of a buildpack; the time of a builder's is not known.
type revision struct {
	ID        string `json:"id"`
	Release   string `json:"release"`
	Status    string `json:"status"`
	License   string `json:"license"`
	CreatedAt *stamp `json:"created_at"`
}

func (s *server) revisions(ctx context.Context, c *call) ([]revision, error) {
	all, err := s.offered(ctx, c)
	out := []revision{}
	for _, o := range all {
		state := "published"
		if o.Yanked {
			state = "yanked"
		}
		out = append(out, revision{o.ID + "@" + o.Version, o.Version, state, strings.Join(o.Licenses, ", "), when(o.CreatedAt)})
	}
	return out, err
}

// A readme is empty: a builder has none.
type readme struct {
	Content  string `json:"content"`
	Encoding string `json:"encoding"`
}

func (s *server) readme(ctx context.Context, c *call) (readme, error) {
	_, err := s.offered(ctx, c)
	return readme{"", "utf-8"}, err
}
