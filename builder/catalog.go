package builder

import (
	"slices"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A Catalog finds the buildpacks of a builder. An absent one is a *NotFoundError. Safe for concurrent use.
type Catalog interface {
	Buildpack(ref cnb.Ref) (*cnb.Descriptor, error)
}

// MapCatalog serves descriptors that are already in memory. A ref without a version finds a buildpack whose id
// has one version only.
func MapCatalog(ds []*cnb.Descriptor) Catalog {
	c := mapCatalog{byRef: map[cnb.Ref]*cnb.Descriptor{}, versions: map[cnb.ID][]string{}}
	for _, d := range ds {
		if _, dup := c.byRef[d.Ref]; !dup {
			c.versions[d.ID] = append(c.versions[d.ID], d.Version)
		}
		c.byRef[d.Ref] = d
	}
	for _, v := range c.versions {
		slices.Sort(v)
	}
	return c
}

type mapCatalog struct {
	byRef    map[cnb.Ref]*cnb.Descriptor
	versions map[cnb.ID][]string
}

func (c mapCatalog) Buildpack(ref cnb.Ref) (*cnb.Descriptor, error) {
	if d, ok := c.byRef[ref]; ok {
		return d, nil
	}
	if v := c.versions[ref.ID]; ref.Version == "" && len(v) == 1 {
		return c.byRef[cnb.Ref{ID: ref.ID, Version: v[0]}], nil
	}
	return nil, &NotFoundError{Buildpack: ref, Have: c.versions[ref.ID]}
}
