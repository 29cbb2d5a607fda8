package index

import (
	"cmp"
	"slices"
	"strings"
)

// A Hit is a buildpack that was searched for.
type Hit struct {
	Name Name
	// Rank: 0 is a name that is the text, 1 and 2 are names that begin with it, without and with the namespace, 3 are other
	// names, 4 are those of which only a description or a keyword has the words.
	Rank     int
	Unsure   bool // it is not known whether it is for the target
	Official bool // it is of the public index
	Fact     Fact
}

// Compare sorts hits, of several indexes too, the best first: by how the text was found, official ones before others, what
// builds here use before what they do not, what is new or was seen last before others, shorter names before longer ones. How
// old a buildpack is no index says.
func (h Hit) Compare(o Hit) int {
	return cmp.Or(last(h.Unsure, o.Unsure), h.Rank-o.Rank, last(o.Official, h.Official), o.Fact.Uses-h.Fact.Uses, o.Fact.Seen.Compare(h.Fact.Seen),
		len(h.Name.Name)-len(o.Name.Name), strings.Compare(h.Name.String(), o.Name.String()))
}

// last compares so that what is true comes last.
func last(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Search finds buildpacks whose names have all words of text in them, the best first.
func (x *Index) Search(text string) []Hit { return x.Find(Query{Text: text}, nil) }

// Find finds buildpacks, by their names and by what is known of them, the best first.
func (x *Index) Find(q Query, known Facts) []Hit {
	words := strings.Fields(strings.ToLower(q.Text))
	whole := strings.Join(words, " ")
	language := ofLanguage(q.Language)
	official := x.Head.Name == Official().Name
	var hits []Hit
	for _, s := range x.names {
		low := strings.ToLower(s)
		f := known[s]
		h := Hit{Official: official, Fact: f}
		switch {
		case all(words, low):
			h.Rank = rank(low, whole)
		case len(known) > 0 && all(words, low+" "+f.text()):
			h.Rank = 4
		default:
			continue
		}
		if q.Language != "" && !says(language, low, f) {
			continue
		}
		if q.Target != "" {
			runs, sure := f.runs(q.Target)
			if sure && !runs {
				continue
			}
			h.Unsure = !sure
		}
		h.Name.NS, h.Name.Name, _ = strings.Cut(s, "/")
		hits = append(hits, h)
	}
	slices.SortFunc(hits, Hit.Compare)
	return hits
}

// text is all that can be searched of a Fact.
func (f Fact) text() string {
	return strings.ToLower(f.Name + " " + f.Description + " " + strings.Join(f.Keywords, " "))
}

// rank is Hit.Rank of a name that has all words.
func rank(low, whole string) int {
	_, short, _ := strings.Cut(low, "/")
	switch {
	case whole == "":
		return 3
	case low == whole || short == whole:
		return 0
	case strings.HasPrefix(short, whole):
		return 1
	case strings.HasPrefix(low, whole):
		return 2
	}
	return 3
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
