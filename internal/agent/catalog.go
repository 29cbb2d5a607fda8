package agent

import (
	"context"
	"fmt"
	"path"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent/wire"
)

// A CatalogEntry is one buildpack of the catalog, decoded far enough for the parent. A descriptor that cannot be used
// has an Error and nothing else; it matters only where an order names it.
type CatalogEntry struct {
	cnb.Ref
	Path      string    `json:"path"`
	API       cnb.API   `json:"api,omitzero"`
	Name      string    `json:"name,omitempty"`
	Homepage  string    `json:"homepage,omitempty"`
	Composite bool      `json:"composite,omitempty"` // its order, not its own executables, runs
	Order     cnb.Order `json:"order,omitempty"`
	Error     string    `json:"error,omitempty"`
}

// setCatalog runs in the collector.
func (s *collectorServer) setCatalog(_ context.Context, _ *wire.Call, files []BuildpackFile) (any, error) {
	c := catalog{broken: map[string]error{}}
	entries := make([]CatalogEntry, 0, len(files))
	var good []*cnb.Descriptor
	for _, f := range files {
		d, err := cnb.DecodeDescriptor(path.Join(f.Path, "buildpack.toml"), f.TOML)
		if err != nil {
			c.broken[place(f.Path)] = err
			entries = append(entries, CatalogEntry{Path: f.Path, Error: line(err.Error())})
			continue
		}
		d.Path, d.HasDetect, d.Windows = f.Path, f.HasDetect, f.Windows
		good = append(good, d)
		entries = append(entries, CatalogEntry{
			Ref: d.Ref, Path: f.Path, API: d.API, Name: d.Name, Homepage: d.Homepage, Composite: len(d.Order) > 0, Order: d.Order,
		})
	}
	c.Catalog = builder.MapCatalog(good)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catalog = c
	return entries, nil
}

// A catalog tells a buildpack that is there but broken from one that is not there.
type catalog struct {
	builder.Catalog
	broken map[string]error // by place
}

// place is <id>/<version>, the end of a buildpack's path, which is all that is known of one whose descriptor is broken.
func place(p string) string { return path.Join(path.Base(path.Dir(p)), path.Base(p)) }

func (c catalog) Buildpack(ref cnb.Ref) (*cnb.Descriptor, error) {
	d, err := c.Catalog.Buildpack(ref)
	if err == nil {
		return d, nil
	}
	if broken := c.broken[path.Join(ref.ID.Dir(), ref.Version)]; broken != nil {
		return nil, fmt.Errorf("buildpack %s: %w", ref, broken)
	}
	return nil, err
}
