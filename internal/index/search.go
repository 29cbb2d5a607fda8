package index

import (
	"cmp"
	"slices"
	"strings"
)

// A Hit is a buildpack that was searched for.
type Hit struct {
	Name Name
	Rank int // 0 is a name that is the text, 1 and 2 are names that begin with it, without and with the namespace, 3 are others
}

// Compare sorts hits, of several indexes too: the best first, and shorter names before longer ones.
func (h Hit) Compare(o Hit) int {
	return cmp.Or(h.Rank-o.Rank, len(h.Name.Name)-len(o.Name.Name), strings.Compare(h.Name.String(), o.Name.String()))
}

// Search finds buildpacks whose names have all words of text in them, the best first.
func (x *Index) Search(text string) []Hit {
	words := strings.Fields(strings.ToLower(text))
	whole := strings.Join(words, " ")
	var hits []Hit
	for _, s := range x.names {
		low := strings.ToLower(s)
		if !all(words, low) {
			continue
		}
		ns, name, _ := strings.Cut(s, "/")
		rank := 3
		switch short := low[len(ns)+1:]; {
		case low == whole || short == whole:
			rank = 0
		case strings.HasPrefix(short, whole):
			rank = 1
		case strings.HasPrefix(low, whole):
			rank = 2
		}
		hits = append(hits, Hit{Name{ns, name}, rank})
	}
	slices.SortFunc(hits, Hit.Compare)
	return hits
}

func all(words []string, in string) bool {
	for _, w := range words {
		if !strings.Contains(in, w) {
			return false
		}
	}
	return true
}

// Near are names like n that the index has, the likest first: for who has mistyped one.
func (x *Index) Near(n Name) []string {
	type hit struct {
		name string
		far  int
	}
	var hits []hit
	key := strings.ToLower(n.String())
	for _, s := range x.names {
		low := strings.ToLower(s)
		far := distance(key, low)
		if _, name, _ := strings.Cut(low, "/"); name == strings.ToLower(n.Name) {
			far = min(far, 2) // the name in another namespace
		}
		if far <= 2 {
			hits = append(hits, hit{s, far})
		}
	}
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Or(a.far-b.far, strings.Compare(a.name, b.name)) })
	var out []string
	for _, h := range hits[:min(3, len(hits))] {
		out = append(out, h.name)
	}
	return out
}

// distance is how many letters are to be changed, added or left out to make a into b; more than 2 is 3.
func distance(a, b string) int {
	const most = 3
	if d := len(a) - len(b); d >= most || -d >= most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
			least = min(least, row[j+1])
		}
		if least >= most {
			return most
		}
	}
	return min(row[len(b)], most)
}
