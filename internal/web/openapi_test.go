package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A document is the OpenAPI document, as a test reads it: it knows nothing of the types that it was made from.
type document struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		ID        string                                `json:"operationId"`
		Need      string                                `json:"x-need"`
		Security  []map[string][]string                 `json:"security"`
		Params    []struct{ In, Name string }           `json:"parameters"`
		Body      *struct{ Content contents }           `json:"requestBody"`
		Responses map[string]struct{ Content contents } `json:"responses"`
	}
	Components struct {
		Schemas map[string]map[string]any
	}
	mux *http.ServeMux
}

type contents map[string]struct{ Schema map[string]any }

func readDocument(t *testing.T, text []byte) *document {
	t.Helper()
	d := &document{mux: http.NewServeMux()}
	if err := json.Unmarshal(text, d); err != nil {
		t.Fatal(err)
	}
	for path, ops := range d.Paths {
		for method := range ops {
			d.mux.HandleFunc(strings.ToUpper(method)+" "+path, http.NotFound)
		}
	}
	return d
}

// check holds an answer against the document.
func (d *document) check(method, path string, status int, header http.Header, text []byte) error {
	_, pattern := d.mux.Handler(httptest.NewRequest(method, path, nil))
	media, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	if pattern == "" {
		if status < 400 {
			return fmt.Errorf("%d from a route that is not in the document", status)
		}
		return d.value(map[string]any{"$ref": "#/components/schemas/Problem"}, text)
	}
	verb, route, _ := strings.Cut(pattern, " ")
	responses := d.Paths[route][strings.ToLower(verb)].Responses
	response, ok := responses[strconv.Itoa(status)]
	if !ok && status >= 400 {
		response = responses["default"]
	} else if !ok {
		return fmt.Errorf("status %d is not in the document", status)
	}
	content, ok := response.Content[media]
	if !ok && !(route == "/readyz" && status == 503) {
		return fmt.Errorf("media type %q of status %d is not in the document", media, status)
	}
	if method == http.MethodHead || content.Schema == nil {
		return nil
	}
	return d.value(content.Schema, text)
}

func (d *document) value(schema map[string]any, text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	return d.holds(schema, v, "answer")
}

// holds checks a value against a schema, of the kinds that the document has.
func (d *document) holds(s map[string]any, v any, at string) error {
	bad := func() error { return fmt.Errorf("%s: %v (%T) is not what the document says: %v", at, v, v, s) }
	if ref, ok := s["$ref"].(string); ok {
		name, _ := strings.CutPrefix(ref, "#/components/schemas/")
		if s, ok = d.Components.Schemas[name]; !ok {
			return fmt.Errorf("%s: there is no schema %s", at, ref)
		}
	}
	if choice, ok := s["anyOf"].([]any); ok {
		err := bad()
		for _, one := range choice {
			if err = d.holds(one.(map[string]any), v, at); err == nil {
				return nil
			}
		}
		return err
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		return bad()
	}
	switch v := v.(type) {
	case nil:
		if s["type"] != "null" {
			return bad()
		}
	case string:
		if s["type"] != "string" {
			return bad()
		}
		if _, err := time.Parse(time.RFC3339, v); s["format"] == "date-time" && (err != nil || !strings.HasSuffix(v, "Z") || len(v) != 20) {
			return bad()
		}
	case bool:
		if s["type"] != "boolean" {
			return bad()
		}
	case float64:
		if s["type"] != "number" && (s["type"] != "integer" || v != float64(int64(v))) {
			return bad()
		}
	case []any:
		if s["type"] != "array" {
			return bad()
		}
		for i, e := range v {
			if err := d.holds(s["items"].(map[string]any), e, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		return d.object(s, v, at)
	}
	return nil
}

func (d *document) object(s, v map[string]any, at string) error {
	if s["type"] != "object" {
		return fmt.Errorf("%s: an object is not what the document says: %v", at, s)
	}
	fields, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	for name, e := range v {
		of, ok := fields[name].(map[string]any)
		if !ok {
			if of, ok = s["additionalProperties"].(map[string]any); !ok {
				return fmt.Errorf("%s: %s is not in the document", at, name)
			}
		}
		if err := d.holds(of, e, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

// TestOpenAPI holds the document against the table. (The answers of every test are held against the document, in house.do.)
func TestOpenAPI(t *testing.T) {
	h := newHouse(t)
	r := h.do("GET", "/openapi.json", "", "").want(200)
	d := readDocument(t, []byte(r.text))
	if d.OpenAPI != "3.1.0" {
		t.Errorf("openapi %q", d.OpenAPI)
	}
	ids := map[string]bool{}
	count := 0
	for _, ops := range d.Paths {
		count += len(ops)
	}
	routes := (&server{Options: h.Options}).routes()
	if count != len(routes) {
		t.Errorf("the document has %d operations, the table %d routes", count, len(routes))
	}
	for _, route := range routes {
		op, ok := d.Paths[route.path][strings.ToLower(route.method)]
		what := route.method + " " + route.path
		if !ok {
			t.Errorf("%s is not in the document", what)
			continue
		}
		open := route.need == nobody || route.need == signedPut || route.need == signedFollow || route.need == hooked
		if op.Need != string(route.need) || (len(op.Security) == 0) != open || op.ID == "" || ids[op.ID] || op.Responses["default"].Content == nil {
			t.Errorf("%s: %+v", what, op)
		}
		ids[op.ID] = true
		var params []string
		for _, p := range op.Params {
			if p.In == "path" {
				params = append(params, p.Name)
			}
		}
		var want []string
		for _, m := range pathParam().FindAllStringSubmatch(route.path, -1) {
			want = append(want, m[1])
		}
		if !slices.Equal(params, want) || strings.Count(route.path, "{") != len(want) {
			t.Errorf("%s: parameters %v, want %v", what, params, want)
		}
		if (op.Body != nil) != (route.in != nil || route.takes != "") {
			t.Errorf("%s: body %v", what, op.Body)
		}
	}
	for name := range d.Components.Schemas {
		if !strings.Contains(r.text, `"#/components/schemas/`+name+`"`) {
			t.Errorf("nothing uses schema %s", name)
		}
	}
	if err := d.check("GET", "/status", 200, http.Header{"Content-Type": {"application/json"}}, []byte(`{"version":1}`)); err == nil {
		t.Error("the check lets a wrong answer through")
	}
}
