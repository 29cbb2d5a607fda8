package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// object is a JSON object of the document; its keys come out sorted.
type object = map[string]any

// openAPI makes the OpenAPI 3.1 document of a table of routes, from the table and the Go types of its bodies alone.
func openAPI(routes []route, version string) ([]byte, error) {
	if version == "" {
		version = "unknown"
	}
	types := schemas{}
	types.of(reflect.TypeFor[problem](), false)
	paths := map[string]object{}
	for _, r := range routes {
		if paths[r.path] == nil {
			paths[r.path] = object{}
		}
		method := strings.ToLower(r.method)
		if paths[r.path][method] != nil {
			return nil, fmt.Errorf("web: two routes are %s %s", r.method, r.path)
		}
		paths[r.path][method] = r.operation(types)
	}
	document := object{
		"openapi": "3.1.0",
		"info": object{"title": "Slipway build service", "version": version,
			"description": "Apps, builds, logs and releases, in the shapes of the Platform API v3 where a resource exists there."},
		"paths": paths,
		"components": object{
			"schemas": types,
			"securitySchemes": object{
				"bearer": object{"type": "http", "scheme": "bearer"},
				"basic":  object{"type": "http", "scheme": "basic", "description": "Any user; the token is the password."},
			},
		},
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("web: the OpenAPI document: %w", err)
	}
	return append(text, '\n'), nil
}

var pathParam = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{([a-z]+)\}`) })

// operation is a route in the document.
func (r route) operation(types schemas) object {
	op := object{
		"operationId": strings.ToLower(r.method) + strings.NewReplacer("/", "_", "{", "", "}", "", "-", "_", ".", "_").Replace(r.path),
		"summary":     r.does,
		"x-need":      string(r.need),
		"responses":   r.responses(types),
	}
	switch r.need {
	case nobody, signedPut, signedFollow, hooked:
		op["security"] = []any{}
	case public:
		op["security"] = []any{object{}, object{"bearer": []any{}}, object{"basic": []any{}}}
	default:
		op["security"] = []any{object{"bearer": []any{}}, object{"basic": []any{}}}
	}
	if params := r.parameters(); len(params) > 0 {
		op["parameters"] = params
	}
	if r.in != nil {
		op["requestBody"] = object{"content": object{"application/json": object{"schema": types.of(r.in, true)}}}
	}
	if r.takes != "" {
		op["requestBody"] = object{"required": true, "content": object{r.takes: object{}}}
	}
	return op
}

func (r route) parameters() []any {
	var all []any
	add := func(in, name, kind, does string, required bool) {
		all = append(all, object{"in": in, "name": name, "required": required, "schema": object{"type": kind}, "description": does})
	}
	for _, m := range pathParam().FindAllStringSubmatch(r.path, -1) {
		add("path", m[1], "string", "See the route.", true)
	}
	if r.need == signedPut || r.need == signedFollow {
		add("query", "sig", "string", "Part of the URL as it was given out.", true)
	}
	if r.list() && r.need != public {
		add("header", "Range", "string", "The part that is wanted: attribute from..to; order=desc, max=200.", false)
	}
	for _, p := range r.params {
		add(p.in, p.name, p.kind, p.does, false)
	}
	return all
}

// list tells whether a route answers with a part of a list.
func (r route) list() bool { return r.out != nil && r.out.Kind() == reflect.Slice }

func (r route) responses(types schemas) object {
	content := object{}
	for _, media := range r.media {
		content[media] = object{}
	}
	if r.out != nil {
		content["application/json"] = object{"schema": types.of(r.out, false)}
	}
	problems := object{"$ref": "#/components/schemas/Problem"}
	if r.need == public {
		problems = types.of(reflect.TypeFor[registryProblem](), false)
	}
	all := object{
		strconv.Itoa(r.status): object{"description": http.StatusText(r.status), "content": content},
		"default":              object{"description": "Why not.", "content": object{"application/json": object{"schema": problems}}},
	}
	for _, status := range r.also {
		all[strconv.Itoa(status)] = object{"description": http.StatusText(status), "content": content}
	}
	if r.list() && r.need != public {
		all["206"] = object{"description": "A part; Next-Range is what to send for the next.", "content": content}
	}
	return all
}
