package logs

import (
	"bytes"
	"slices"
)

// Patterns have at least minPattern bytes, on which the search relies to skip text, and at most maxPattern, so that
// little is ever held back.
const (
	minPattern = 8
	maxPattern = 255
)

// An automaton finds every occurrence of many patterns in one pass, after Aho and Corasick: its state is the longest
// beginning of a pattern that the text so far ends with. From the state that has seen nothing it skips ahead as Wu
// and Manber do: the last two of the next eight bytes tell how far away the next pattern is at least.
type automaton struct {
	nodes  []node // 0 is the root; then level by level, and children of one node side by side
	labels []byte // of each node: the byte that leads to it
	root   [256]uint32
	skip   [1 << 16]byte // of two bytes: how far to go on; and begins, if a pattern begins with them
}

// node is a state, and small, because an app may have a megabyte of config vars.
type node struct {
	fail, child uint32 // where to go on when no child fits; the first child
	children    uint16
	depth       byte // how many bytes of a pattern were seen
	out         byte // length of the longest pattern that ends here; 0: none
}

const begins = 0x80

func newAutomaton(patterns []string) *automaton {
	a := &automaton{nodes: make([]node, 1), labels: make([]byte, 1)}
	for i := range a.skip {
		a.skip[i] = minPattern - 1
	}
	for _, p := range patterns {
		for i := range minPattern - 1 {
			k := pair(p[i], p[i+1])
			far := min(a.skip[k]&^begins, byte(minPattern-2-i))
			a.skip[k] = a.skip[k]&begins | far
		}
		a.skip[pair(p[0], p[1])] |= begins
	}
	patterns = slices.Clone(patterns)
	slices.Sort(patterns)
	a.grow(slices.Compact(patterns))
	return a
}

func pair(a, b byte) int { return int(a)<<8 | int(b) }

// grow makes the nodes for sorted patterns, a level at a time; of each node of the level it knows which patterns
// go through it.
func (a *automaton) grow(patterns []string) {
	level, next := []span{{0, len(patterns)}}, []span(nil)
	for depth, first := 0, 0; len(level) > 0; depth++ {
		next = next[:0]
		for i, s := range level {
			at := uint32(first + i)
			a.nodes[at].child = uint32(len(a.nodes))
			if s.from < s.to && len(patterns[s.from]) == depth {
				s.from++ // it ends here
			}
			for s.from < s.to {
				c, from := patterns[s.from][depth], s.from
				for s.from < s.to && patterns[s.from][depth] == c {
					s.from++
				}
				a.sprout(at, c, len(patterns[from]) == depth+1)
				next = append(next, span{from, s.from})
			}
		}
		first += len(level)
		level, next = next, level
	}
	a.nodes, a.labels = slices.Clip(a.nodes), slices.Clip(a.labels)
}

// sprout adds a child to a node, at which a pattern may end. All nodes that are nearer to the root than the child are
// there, and know the longest pattern that ends with them.
func (a *automaton) sprout(parent uint32, label byte, ends bool) {
	child := uint32(len(a.nodes))
	n := node{depth: a.nodes[parent].depth + 1}
	if parent == 0 {
		a.root[label] = child
	} else {
		n.fail = a.next(a.nodes[parent].fail, label)
		n.out = a.nodes[n.fail].out
	}
	if ends {
		n.out = n.depth // longer than what fail says
	}
	a.nodes[parent].children++
	a.nodes, a.labels = append(a.nodes, n), append(a.labels, label)
}

func (a *automaton) next(s uint32, b byte) uint32 {
	for s != 0 {
		n := &a.nodes[s]
		switch {
		case n.children == 1:
			if a.labels[n.child] == b {
				return n.child
			}
		case n.children > 1:
			if i := bytes.IndexByte(a.labels[n.child:n.child+uint32(n.children)], b); i >= 0 {
				return n.child + uint32(i)
			}
		}
		s = n.fail
	}
	return a.root[b]
}

// scan reads b from a place on, in a state, and returns the state after it and the spans of b that are patterns: in
// order, none touching another.
func (a *automaton) scan(b []byte, from int, s uint32, spans []span) (uint32, []span) {
	for i := from; i < len(b); i++ {
		if s == 0 {
			if i = a.ahead(b, i); i == len(b) {
				break
			}
		}
		s = a.next(s, b[i])
		if n := int(a.nodes[s].out); n > 0 {
			spans = join(spans, span{i + 1 - n, i + 1})
		}
	}
	return s, spans
}

// ahead is the first place from i on where a pattern may begin.
func (a *automaton) ahead(b []byte, i int) int {
	for i+minPattern <= len(b) {
		far := int(a.skip[pair(b[i+minPattern-2], b[i+minPattern-1])] &^ begins)
		if far == 0 {
			if a.skip[pair(b[i], b[i+1])]&begins != 0 {
				return i
			}
			far = 1
		}
		i += far
	}
	return min(i, len(b))
}

// join adds a span that ends behind all others.
func join(spans []span, s span) []span {
	for len(spans) > 0 && spans[len(spans)-1].to >= s.from {
		s.from = min(s.from, spans[len(spans)-1].from)
		spans = spans[:len(spans)-1]
	}
	return append(spans, s)
}
