package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxDepth is how many objects and arrays of a JSON body may be in one another: no request here has more than a few.
const maxDepth = 32

// strict refuses JSON that two readers could understand differently, or that costs one of them more than it is long:
// deep nesting, a name twice in one object, and anything behind the value. The error names no value.
func strict(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var open []map[string]bool // the names of each object that is open; nil for an array
	name := false              // comes next
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) && len(open) > 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case json.Delim:
			switch t {
			case '{':
				open = append(open, map[string]bool{})
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
			if len(open) > maxDepth {
				return badRequest(fmt.Sprintf("the JSON of the body is nested more than %d deep", maxDepth))
			}
		case string:
			if name {
				if open[len(open)-1][t] {
					return badRequest(fmt.Sprintf("the JSON of the body has a field twice: %.80q", t))
				}
				open[len(open)-1][t] = true
				name = false
				continue // its value
			}
		}
		if len(open) == 0 {
			break
		}
		name = open[len(open)-1] != nil
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("something follows the JSON of the body")
	}
	return nil
}
