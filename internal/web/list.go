package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/store"
)

// Lists come in parts, as the Platform API has it: a client sends
//
//	Range: <attribute> [[]]<from>]..[<to>][; order=asc|desc, max=N]
//
// where from is where the list begins in its order ("]" before it: behind that), and gets 206 with the Next-Range to
// send for what follows, or 200 when nothing does.
const (
	defaultMax = 200
	mostMax    = 1000
)

// A span is the part of a list that a client asks for.
type span struct {
	attribute string
	from, to  string // "" is open
	behind    bool   // from itself is not part of it
	desc      bool
	max       int
}

func badRange(text string) error {
	return invalid("Range", text+`: it looks like "name a..f; order=desc, max=10"`)
}

// parseSpan reads a Range header for a list that can be ordered by some attributes, the first by default.
func parseSpan(header string, attributes ...string) (span, error) {
	p := span{attribute: attributes[0], max: defaultMax}
	if header == "" {
		return p, nil
	}
	if len(header) > 1000 {
		return p, badRange("it is too long")
	}
	what, params, _ := strings.Cut(header, ";")
	attribute, bounds, _ := strings.Cut(strings.TrimSpace(what), " ")
	if !slices.Contains(attributes, attribute) {
		return p, badRange(fmt.Sprintf("this list is ordered by %s, not by %.40q", strings.Join(attributes, " or "), attribute))
	}
	p.attribute = attribute
	from, to, ok := strings.Cut(strings.TrimSpace(bounds), "..")
	if !ok && strings.TrimSpace(bounds) != "" {
		return p, badRange(`there is no ".." in it`)
	}
	p.from, p.behind = strings.CutPrefix(from, "]")
	p.to = to
	return p, p.params(params)
}

func (p *span) params(text string) error {
	for param := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ';' }) {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		switch name {
		case "":
		case "max":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > mostMax {
				return badRange(fmt.Sprintf("max is a number from 1 to %d", mostMax))
			}
			p.max = n
		case "order":
			if value != "asc" && value != "desc" {
				return badRange("order is asc or desc")
			}
			p.desc = value == "desc"
		default:
			return badRange(fmt.Sprintf("it knows max and order, not %.40q", name))
		}
	}
	return nil
}

// part is what a list answers: it cuts what is too much, and says so. all has one more than max when more follows.
func part[T any](c *call, p span, attributes []string, all []T, key func(T) string) []T {
	more := len(all) > p.max
	if more {
		all = all[:p.max]
	}
	h := c.w.Header()
	h.Set("Accept-Ranges", strings.Join(attributes, ", "))
	if len(all) == 0 {
		return []T{}
	}
	last := key(all[len(all)-1])
	h.Set("Content-Range", p.attribute+" "+key(all[0])+".."+last)
	if more {
		order := ""
		if p.desc {
			order = "order=desc, "
		}
		h.Set("Next-Range", fmt.Sprintf("%s ]%s..%s; %smax=%d", p.attribute, last, p.to, order, p.max))
		c.status = http.StatusPartialContent
	}
	return all
}

// An attribute is something that a list in memory can be ordered by; its values differ and grow.
type attribute[T any] struct {
	name string
	of   func(T) string
}

// listed answers with a part of a list that is small enough to be had whole.
func listed[T any](c *call, all []T, by ...attribute[T]) ([]T, error) {
	var names []string
	for _, a := range by {
		names = append(names, a.name)
	}
	p, err := parseSpan(c.Header.Get("Range"), names...)
	if err != nil {
		return nil, err
	}
	key := by[slices.Index(names, p.attribute)].of
	order := func(a, b string) int {
		if p.desc {
			return cmp.Compare(b, a)
		}
		return cmp.Compare(a, b)
	}
	all = slices.DeleteFunc(all, func(v T) bool {
		k := key(v)
		return p.from != "" && (order(k, p.from) < 0 || p.behind && k == p.from) || p.to != "" && order(k, p.to) > 0
	})
	slices.SortFunc(all, func(a, b T) int { return order(key(a), key(b)) })
	return part(c, p, names, all[:min(len(all), p.max+1)], key), nil
}

// A sequence is a list that the store has in the order of a number.
type sequence[T any] struct {
	// attributes are the number's name, "id", and names for clients that order by time, which is the same order: those have
	// no bounds.
	attributes []string
	numberOf   func(id string) (int64, error)
	get        func(store.Page) ([]T, error)
	key        func(T) (number int64, id string)
}

// numbered answers with a part of a sequence.
func numbered[T any](c *call, q sequence[T]) ([]T, error) {
	p, err := parseSpan(c.Header.Get("Range"), q.attributes...)
	if err != nil {
		return nil, err
	}
	if p.attribute != q.attributes[0] && p.attribute != "id" {
		if p.from+p.to != "" {
			return nil, badRange("bounds are for " + q.attributes[0] + " and id")
		}
		p.attribute = q.attributes[0]
	}
	page, some, err := p.page(q.numberOf)
	if err != nil {
		return nil, err
	}
	all := []T{}
	if some {
		if all, err = q.get(page); err != nil {
			return nil, err
		}
	}
	return part(c, p, q.attributes, all, func(v T) string {
		number, id := q.key(v)
		if p.attribute == "id" {
			return id
		}
		return strconv.FormatInt(number, 10)
	}), nil
}

// page is what to ask the store for: one more than is wanted. some is false when there cannot be any, which a
// store.Page cannot say: 0 is no bound there.
func (p span) page(numberOf func(id string) (int64, error)) (page store.Page, some bool, err error) {
	from, err := p.bound(p.from, numberOf)
	if err != nil {
		return page, false, err
	}
	to, err := p.bound(p.to, numberOf)
	if err != nil {
		return page, false, err
	}
	page = store.Page{From: from, To: to, Max: p.max + 1, Desc: p.desc}
	upper := p.to
	if p.behind {
		page.From++
	}
	if p.desc {
		page.From, page.To, upper = to, from, p.from
		if p.behind {
			page.To--
		}
	}
	return page, upper == "" || page.To > 0, nil
}

// bound is the number that a bound stands for, 0 for none.
func (p span) bound(text string, numberOf func(id string) (int64, error)) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if p.attribute == "id" {
		return numberOf(text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<60 {
		return 0, badRange(fmt.Sprintf("%.40q is no %s", text, p.attribute))
	}
	return n, nil
}
