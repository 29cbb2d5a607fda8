package builder

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// Limits of an order. They are far above any real builder.
const (
	maxNesting  = 16
	maxGroups   = 256
	maxElements = 1024
)

// An OrderError tells that an order is wrong in itself, whatever the application.
type OrderError struct {
	Path   []cnb.Ref // the composite buildpacks on the way to the fault, outermost first
	Reason string
}

func (e *OrderError) Error() string {
	if len(e.Path) == 0 {
		return "order of buildpacks: " + e.Reason
	}
	return "order of buildpack " + joinRefs(e.Path, " -> ") + ": " + e.Reason
}

func joinRefs(refs []cnb.Ref, sep string) string {
	names := make([]string, len(refs))
	for i, r := range refs {
		names[i] = r.String()
	}
	return strings.Join(names, sep)
}

// withSystem puts the system buildpacks around each group of the order, except those whose id the group has
// (platform, "detector"). They keep their optional flag.
func withSystem(order cnb.Order, system cnb.System) cnb.Order {
	out := make(cnb.Order, len(order))
	for i, g := range order {
		var elements []cnb.GroupElement
		elements = append(elements, absent(system.Pre, g)...)
		elements = append(elements, g.Elements...)
		elements = append(elements, absent(system.Post, g)...)
		out[i] = cnb.Group{Elements: elements}
	}
	return out
}

func absent(system []cnb.GroupElement, g cnb.Group) []cnb.GroupElement {
	return slices.DeleteFunc(slices.Clone(system), func(s cnb.GroupElement) bool {
		return slices.ContainsFunc(g.Elements, func(e cnb.GroupElement) bool { return e.ID == s.ID })
	})
}

// checkOrder walks everything that an order can reach: every buildpack has to be there, no composite buildpack may
// contain itself, limits have to hold, and the buildpacks that the order itself names have to speak an API we know.
func checkOrder(order cnb.Order, catalog Catalog) error {
	c := orderCheck{catalog: catalog, depth: map[cnb.Ref]int{}}
	_, err := c.order(order)
	return err
}

type orderCheck struct {
	catalog Catalog
	path    []cnb.Ref
	depth   map[cnb.Ref]int // nesting below a composite buildpack that was walked
}

// order returns how deep orders nest, 1 for an order of component buildpacks.
func (c *orderCheck) order(order cnb.Order) (int, error) {
	if len(order) > maxGroups {
		return 0, c.fault("%d groups, the limit is %d", len(order), maxGroups)
	}
	deepest := 0
	for _, g := range order {
		if len(g.Elements) > maxElements {
			return 0, c.fault("a group of %d buildpacks, the limit is %d", len(g.Elements), maxElements)
		}
		for _, e := range g.Elements {
			n, err := c.element(e)
			if err != nil {
				return 0, err
			}
			deepest = max(deepest, n)
		}
	}
	if deepest+1 > maxNesting {
		return 0, c.fault("orders nest deeper than %d", maxNesting)
	}
	return deepest + 1, nil
}

func (c *orderCheck) element(e cnb.GroupElement) (int, error) {
	d, err := c.catalog.Buildpack(e.Ref)
	if err != nil {
		return 0, c.in(err)
	}
	if len(c.path) == 0 {
		if err := checkAPI(d); err != nil {
			return 0, err
		}
	}
	if len(d.Order) == 0 {
		return 0, nil
	}
	if n, ok := c.depth[d.Ref]; ok {
		return n, nil
	}
	if i := slices.Index(c.path, d.Ref); i >= 0 {
		return 0, c.fault("it contains itself: %s", joinRefs(append(slices.Clone(c.path[i:]), d.Ref), " -> "))
	}
	if len(c.path) == maxNesting {
		return 0, c.fault("orders nest deeper than %d", maxNesting)
	}
	c.path = append(c.path, d.Ref)
	n, err := c.order(d.Order)
	if err != nil {
		return 0, err
	}
	c.path = c.path[:len(c.path)-1]
	c.depth[d.Ref] = n
	return n, nil
}

func (c *orderCheck) fault(format string, args ...any) error {
	return &OrderError{Path: slices.Clone(c.path), Reason: fmt.Sprintf(format, args...)}
}

// in says in which order a buildpack was named that could not be had.
func (c *orderCheck) in(err error) error {
	if len(c.path) == 0 {
		return fmt.Errorf("order of buildpacks: %w", err)
	}
	return fmt.Errorf("order of buildpack %s: %w", joinRefs(c.path, " -> "), err)
}

// checkAPI refuses a Buildpack API that we do not speak (buildpack, "Buildpack API Compatibility").
func checkAPI(d *cnb.Descriptor) error {
	if d.API.Within(cnb.OldestBuildpackAPI, cnb.NewestBuildpackAPI) {
		return nil
	}
	return &APIError{Buildpack: d.Ref, Extension: d.Extension, API: d.API}
}
