package builder

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// prune marks alternatives that fail every trial they are in, until no more are found. It reports whether every
// node has an alternative left.
func (s *planSearch) prune() bool {
	for changed := true; changed; {
		changed = false
		if s.work > maxPlanWork {
			s.err = s.tooMany()
			return false
		}
		firstProvide := s.span()
		for i := range s.nodes {
			live := 0
			for k := range s.nodes[i].options {
				o := &s.nodes[i].options[k]
				if o.dead {
					continue
				}
				if why := s.hopeless(i, o, firstProvide); why != "" && !o.droppable {
					o.dead, changed = true, true
					s.choice[i] = k
					s.told(i, i, why)
					if k == 0 && s.firstWhy == "" {
						s.firstWhy = why
					}
					continue
				}
				live++
			}
			if live == 0 {
				return false
			}
		}
	}
	return true
}

// span fills lastUse and returns for each name the first node with a live option that provides it.
func (s *planSearch) span() []int {
	first := make([]int, len(s.names))
	for n := range s.names {
		first[n], s.lastUse[n] = len(s.nodes), -1
	}
	for i, node := range s.nodes {
		for _, o := range node.options {
			if o.dead {
				continue
			}
			s.work += 2 * (1 + len(o.provides) + len(o.requires))
			for _, n := range o.provides {
				first[n] = min(first[n], i)
			}
			for _, n := range o.requires {
				s.lastUse[n] = i
			}
		}
	}
	return first
}

// hopeless says why an alternative cannot be met, whatever the other nodes choose; "" where it may be.
func (s *planSearch) hopeless(i int, o *planOption, firstProvide []int) string {
	s.pass++
	for _, n := range o.provides {
		s.mark[n] = s.pass
	}
	for _, n := range o.requires {
		if firstProvide[n] >= i && s.mark[n] != s.pass {
			return s.unmet(i, n)
		}
	}
	s.pass++
	for _, n := range o.requires {
		s.mark[n] = s.pass
	}
	for _, n := range o.provides {
		if s.lastUse[n] <= i && s.mark[n] != s.pass {
			return s.unused(i, n)
		}
	}
	return ""
}

func (s *planSearch) unmet(i, name int) string {
	return fmt.Sprintf("%s requires %q, which neither it nor a buildpack before it provides", s.candidates[i].ref, s.names[name])
}

func (s *planSearch) unused(i, name int) string {
	return fmt.Sprintf("%s provides %q, which neither it nor a buildpack after it requires", s.candidates[i].ref, s.names[name])
}

// noneLeft is why a trial fails that leaves every buildpack out.
const noneLeft = "the plan leaves no buildpack in the group"

// explain says why no trial works.
func (s *planSearch) explain() string {
	alternatives := false
	for _, n := range s.nodes {
		alternatives = alternatives || len(n.options) > 1
	}
	switch {
	case s.firstWhy == "":
		return noneLeft
	case alternatives:
		return s.firstWhy + " (and no alternative of the plans works)"
	}
	return s.firstWhy
}

// search chooses alternatives for node i and those after it. On success choice and kept hold the trial.
func (s *planSearch) search(i int) bool {
	if i == len(s.nodes) {
		why := ""
		if !s.anyKept() {
			why = noneLeft
		}
		s.told(0, i-1, why)
		return why == ""
	}
	for k := range s.nodes[i].options {
		if s.nodes[i].options[k].dead {
			continue
		}
		if s.trials++; s.trials > s.maxTrials {
			s.err = s.tooMany()
			return false
		}
		if s.ctx.Err() != nil {
			s.err = context.Cause(s.ctx)
			return false
		}
		s.choice[i] = k
		why := s.settle(i)
		if s.err != nil {
			return false
		}
		if why != "" {
			if s.firstWhy == "" {
				s.firstWhy = why
			}
			s.told(0, i, why)
			continue
		}
		key, comparable := s.state(i)
		if comparable && s.failed[key] {
			continue
		}
		if s.search(i + 1) {
			return true
		}
		if s.err != nil {
			return false
		}
		if comparable {
			s.failed[key] = true
		}
	}
	return false
}

func (s *planSearch) anyKept() bool {
	for i, k := range s.kept {
		if k && !s.nodes[i].extension {
			return true
		}
	}
	return false
}

func (s *planSearch) option(i int) *planOption { return &s.nodes[i].options[s.choice[i]] }

// settle finds which of the nodes 0 to last stay, given their choices and the best that later nodes could do. It
// returns a reason where a node that may not be left out cannot stay.
func (s *planSearch) settle(last int) string {
	for i := range last + 1 {
		s.kept[i] = true
	}
	for changed := true; changed; {
		if s.work > maxPlanWork {
			s.err = s.tooMany()
			return ""
		}
		requires, why := s.dropUnmet(last)
		if why != "" {
			return why
		}
		provides, why := s.dropUnused(last)
		if why != "" {
			return why
		}
		changed = requires || provides
	}
	return ""
}

// dropUnmet leaves out nodes that require what nothing at or before them provides.
func (s *planSearch) dropUnmet(last int) (changed bool, why string) {
	s.pass++
	for i := range last + 1 {
		if !s.kept[i] {
			continue
		}
		o := s.option(i)
		s.work += 1 + len(o.provides) + len(o.requires)
		for _, n := range o.provides {
			s.mark[n] = s.pass
		}
		for _, n := range o.requires {
			if s.mark[n] == s.pass {
				continue
			}
			if !o.droppable {
				return false, s.unmet(i, n)
			}
			s.kept[i], changed = false, true
			break
		}
	}
	return changed, ""
}

// dropUnused leaves out nodes that provide what nothing at or after them requires.
func (s *planSearch) dropUnused(last int) (changed bool, why string) {
	s.pass++
	for i := last; i >= 0; i-- {
		if !s.kept[i] {
			continue
		}
		o := s.option(i)
		s.work += 1 + len(o.provides) + len(o.requires)
		for _, n := range o.requires {
			s.mark[n] = s.pass
		}
		for _, n := range o.provides {
			if s.mark[n] == s.pass || s.lastUse[n] > last {
				continue
			}
			if !o.droppable {
				return false, s.unused(i, n)
			}
			s.kept[i], changed = false, true
			break
		}
	}
	return changed, ""
}

// state is all that nodes after last can see of those up to it: which names are there, which still wait for a
// requirer, and whether a buildpack is kept. It is comparable only where no kept node can still be left out.
func (s *planSearch) state(last int) (key string, comparable bool) {
	s.pass += 2
	available, waiting := s.pass-1, s.pass // what mark holds for a name
	kept := byte(0)
	for i := range last + 1 {
		if !s.kept[i] {
			continue
		}
		o := s.option(i)
		if o.droppable && len(o.provides)+len(o.requires) > 0 {
			return "", false
		}
		if !s.nodes[i].extension {
			kept = 1
		}
		for _, n := range o.provides {
			s.mark[n] = waiting
		}
		for _, n := range o.requires {
			s.mark[n] = available
		}
		s.work += len(o.provides) + len(o.requires)
	}
	b := binary.AppendUvarint([]byte{kept}, uint64(last))
	for n, mark := range s.mark {
		if s.lastUse[n] > last && mark >= available {
			b = append(binary.AppendUvarint(b, uint64(n)), byte(mark-available))
		}
	}
	s.work += len(s.names)
	if len(b) > sha256.Size {
		sum := sha256.Sum256(b) // many long states would take much memory
		b = sum[:]
	}
	return string(b), true
}
