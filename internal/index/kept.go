package index

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// New is an Index in memory, without a read model: of whoever keeps the index itself. It is a value that never changes.
func New(h Head, t *Tree) *Index {
	x := &Index{Head: h, read: make(map[string]Buildpack, len(t.Buildpacks))}
	for _, b := range t.Buildpacks { // sorted
		x.names = append(x.names, b.Name.String())
		x.read[b.Name.String()] = b
	}
	x.Head.Buildpacks, x.Head.Versions, x.Head.Faults, x.Head.MoreFaults = len(t.Buildpacks), t.Versions, t.Faults, t.MoreFaults
	return x
}

// With is an Index that New made with another text of the file of one buildpack, at a later revision.
func (x *Index) With(n Name, file []byte, revision string, at time.Time) (*Index, error) {
	read := &part{at: n.Path(), buildpack: Buildpack{Name: n}}
	if err := newParser().read(read, bytes.NewReader(file)); err != nil {
		return nil, err
	}
	b := read.buildpack
	y := &Index{Head: x.Head, names: x.names, read: maps.Clone(x.read)}
	y.Revision, y.Synced = revision, at
	key := n.String()
	y.Head.Versions += len(b.Versions) - len(x.read[key].Versions)
	if i, ok := slices.BinarySearch(y.names, key); !ok && len(b.Versions) > 0 {
		y.names = slices.Insert(slices.Clone(y.names), i, key)
		y.Head.Buildpacks++
	}
	y.read[key] = b
	return y, nil
}

// HasNamespace tells whether the index has a buildpack of a namespace.
func (x *Index) HasNamespace(ns string) bool {
	i, _ := slices.BinarySearch(x.names, ns+"/")
	return i < len(x.names) && strings.HasPrefix(x.names[i], ns+"/")
}

// Namespace is the name of an index that was synced and has buildpacks of a namespace; "" where none has.
func (s *Set) Namespace(ns string) string {
	for _, src := range s.Registries {
		if x, err := s.Index(src.Name); err == nil && x.HasNamespace(ns) {
			return src.Name
		}
	}
	return ""
}

// Keep puts an index before all others of the Set: one that this process keeps itself and that is never synced. current
// gives it as it is when it is asked.
func (s *Set) Keep(name string, current func() (*Index, error)) {
	own := Source{Name: name, URL: fmt.Sprintf("slipway:%s", name)}
	s.Registries = append([]Source{own}, slices.DeleteFunc(slices.Clone(s.Registries), func(src Source) bool { return src.Name == name })...)
	s.kept, s.current = name, current
}
