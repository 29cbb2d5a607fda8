package setups

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/appjson"
)

// TestPlan: what an app.json and what was given come to, and everything that is missing, at once.
func TestPlan(t *testing.T) {
	t.Parallel()
	has := func(context.Context) ([]string, error) { return []string{"slipway/nodejs", "slipway/procfile"}, nil }
	unknown := func(context.Context) ([]string, error) { return nil, errors.New("no builder is here yet") }
	for _, c := range []struct {
		what, text string
		given      input
		builtin    func(context.Context) ([]string, error)
		procfile   bool
		problems   []string // "field: text"
		vars       map[string]string
		buildpacks []string
		unprovided []string
		warnings   []string // the beginnings
	}{
		{what: "nothing", text: `{}`, vars: map[string]string{}},
		{
			what: "given over default", text: `{"env": {"A": "1", "B": {"value": "2"}, "C": {"required": false}}}`, given: input{Env: map[string]string{"A": "x", "D": "y"}},
			vars: map[string]string{"A": "x", "B": "2", "D": "y"},
		},
		{
			what: "all that is missing", text: `{"env": {"A": {}, "B": {}}, "addons": ["heroku-redis", "heroku-postgresql:mini"]}`, given: input{Env: map[string]string{"B": "b", "DATABASE_URL": "d"}},
			problems: []string{"env.A: config var A is required", "addons.heroku-redis: add-on heroku-redis is not provided here: give the config vars that it would set: REDIS_URL"},
		},
		{
			what: "without add-ons", text: `{"addons": ["heroku-redis"]}`, given: input{WithoutAddons: true},
			vars: map[string]string{}, unprovided: []string{"heroku-redis"},
		},
		{
			what: "an add-on whose config var has a default", text: `{"addons": ["heroku-redis"], "env": {"REDIS_URL": "redis://db"}}`,
			vars: map[string]string{"REDIS_URL": "redis://db"},
		},
		{
			what: "an add-on whose config var is given as nothing", text: `{"addons": ["heroku-redis"]}`, given: input{Env: map[string]string{"REDIS_URL": ""}},
			problems: []string{"addons.heroku-redis: add-on heroku-redis is not provided here: give the config vars that it would set: REDIS_URL"},
		},
		{
			what: "buildpacks", text: `{"buildpacks": [{"url": "heroku/nodejs"}]}`, procfile: true, vars: map[string]string{},
			buildpacks: []string{"slipway/nodejs", "slipway/procfile"},
		},
		{
			what: "buildpacks for a builder that is not here yet", text: `{"buildpacks": [{"url": "heroku/nodejs"}]}`, builtin: unknown, vars: map[string]string{},
			buildpacks: []string{"slipway/nodejs"},
		},
		{
			what: "other buildpacks", text: `{"buildpacks": [{"url": "https://github.com/nobody/heroku-buildpack-none"}]}`, given: input{Buildpacks: []string{"heroku/python"}},
			vars: map[string]string{}, buildpacks: []string{"heroku/python"},
		},
		{
			what: "no buildpacks", text: `{"buildpacks": [{"url": "heroku/nodejs"}]}`, given: input{Buildpacks: []string{}}, vars: map[string]string{},
		},
		{
			what: "other buildpacks that nothing builds in place of", text: `{}`, given: input{Buildpacks: []string{"https://github.com/nobody/heroku-buildpack-none"}},
			problems: []string{"buildpacks: buildpacks[0].url: "},
		},
		{what: "no JSON", text: `{`, problems: []string{"template: invalid app.json: app.json:1:"}},
		{what: "errors of another environment", text: `{"environments": {"test": {"env": []}}}`, vars: map[string]string{}},
		{
			what: "production", text: `{"env": {"A": {}}, "environments": {"production": {"env": {"B": "b"}}}}`, vars: map[string]string{"B": "b"},
		},
		{
			what: "formation", text: `{"formation": {"web": {"quantity": 1}, "worker": {"quantity": 1}, "clock": {"quantity": 0}}, "surprise": 1}`, vars: map[string]string{},
			warnings: []string{"app.json:1:", "formation: 1 of worker are wanted"},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s := &Setups{o: Options{Builtin: has}}
			if c.builtin != nil {
				s.o.Builtin = c.builtin
			}
			m := manifest{procfile: c.procfile}
			m.app, m.found = appjson.Parse([]byte(c.text))
			p, problems := s.plan(t.Context(), m, c.given)
			if len(problems) != len(c.problems) {
				t.Fatalf("problems %q, want %q", problems, c.problems)
			}
			for i, want := range c.problems {
				if got := problems[i].Field + ": " + problems[i].Text; !strings.HasPrefix(got, want) {
					t.Errorf("problem %q, want %q", got, want)
				}
			}
			if len(c.problems) > 0 {
				return
			}
			if !maps.Equal(p.Vars, c.vars) || !slices.Equal(p.Buildpacks, c.buildpacks) || !slices.Equal(p.Unprovided, c.unprovided) {
				t.Errorf("%+v", p)
			}
			warned := slices.DeleteFunc(slices.Clone(p.Warnings), func(text string) bool {
				return slices.ContainsFunc(c.warnings, func(want string) bool { return strings.HasPrefix(text, want) })
			})
			if c.warnings != nil && (len(warned) > 0 || len(p.Warnings) != len(c.warnings)) {
				t.Errorf("warnings %q, want %q", p.Warnings, c.warnings)
			}
		})
	}
}

// TestInput: what a setup was given survives in its record as it was.
func TestInput(t *testing.T) {
	t.Parallel()
	given := input{Env: map[string]string{"A": "1"}, Buildpacks: []string{}, Query: "sig=x"}
	given.Credentials.Password, given.Credentials.Key = "secret", []byte("PEM")
	got, err := unseal(given.seal())
	if err != nil || got.Env["A"] != "1" || got.Buildpacks == nil || got.Query != "sig=x" || got.Credentials.Password != "secret" || string(got.Credentials.Key) != "PEM" || got.Plan != nil {
		t.Errorf("%+v %v", got, err)
	}
	if got, err = unseal(input{}.seal()); err != nil || got.Buildpacks != nil {
		t.Errorf("%+v %v", got, err)
	}
}

// TestTail: the end of what a script prints is kept, however much that is, in whole characters.
func TestTail(t *testing.T) {
	t.Parallel()
	var out tail
	for range 10_000 {
		_, _ = out.Write([]byte("äöü-0123456789\n"))
	}
	got := out.String()
	if len(got) < maxOutput || len(got) > maxOutput+8 || !strings.HasSuffix(got, "\näöü-0123456789\n") || len(out.text) > 3*maxOutput {
		t.Errorf("%d bytes kept, %d held: ...%q", len(got), len(out.text), got[len(got)-20:])
	}
}
