package setups

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/slipway-build/slipway/internal/appjson"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
)

// input is what a setup was given, and needs to go on after a crash: nobody may read it.
type input struct {
	Env           map[string]string `json:"env,omitempty"`
	WithoutAddons bool              `json:"without_addons,omitempty"`
	Buildpacks    []string          `json:"buildpacks"` // nil: the template's
	Credentials   fetch.Credentials `json:"credentials,omitzero"`
	Query         string            `json:"query,omitempty"` // of an archive's URL
	Plan          *plan             `json:"plan,omitempty"`  // nil until the app.json was read
}

func (in input) seal() string { return build.JSON(in) }

func unseal(text string) (in input, err error) {
	if err = json.Unmarshal([]byte(text), &in); err != nil {
		err = fmt.Errorf("what the setup was given: %w", err)
	}
	return in, err
}

// A plan is what an app.json and what was given come to.
type plan struct {
	Vars       map[string]string `json:"vars"`
	Buildpacks []string          `json:"buildpacks"`
	Addons     []string          `json:"addons"` // names of those that are wanted
	Unprovided []string          `json:"unprovided,omitempty"`
	Postdeploy string            `json:"postdeploy,omitempty"`
	SuccessURL string            `json:"success_url,omitempty"`
	Warnings   []string          `json:"warnings,omitempty"`
}

// A manifest is an app.json as it was read.
type manifest struct {
	app      *appjson.App
	found    []appjson.Finding
	procfile bool
}

const (
	notFound = "app.json not found"
	invalid  = "invalid app.json"
)

// plan works out what a manifest asks for, and what keeps that from being done.
func (s *Setups) plan(ctx context.Context, m manifest, given input) (p plan, problems []Problem) {
	add := func(field, format string, args ...any) {
		problems = append(problems, Problem{field, fmt.Sprintf(format, args...)})
	}
	var settings appjson.Settings
	if m.app != nil {
		settings = m.app.For(appjson.Production)
	}
	if given.Buildpacks != nil {
		var found []appjson.Finding
		settings.Buildpacks, found = overriding(given.Buildpacks)
		for _, f := range appjson.Blocking(found, appjson.Production) {
			add("buildpacks", "%s: %s", f.Path, f.Text)
		}
	}
	for _, f := range appjson.Blocking(m.found, appjson.Production) {
		if given.Buildpacks == nil || !strings.HasPrefix(f.Path, "buildpacks") {
			add("template", "%s: %s", invalid, f)
		}
	}
	for _, f := range m.found {
		if f.Severity == appjson.Warning {
			p.Warnings = append(p.Warnings, f.String())
		}
	}
	if m.app == nil {
		return p, problems
	}
	problems = append(problems, p.vars(settings, given.Env)...)
	problems = append(problems, p.addons(settings.Addons, given.WithoutAddons)...)
	p.Buildpacks = settings.Order(s.builtin(ctx), m.procfile)
	p.Postdeploy, p.SuccessURL = settings.Scripts.Postdeploy, m.app.SuccessURL
	for _, f := range settings.Formation {
		if f.Type != "web" && f.Quantity > 0 || f.Quantity > 1 {
			p.Warnings = append(p.Warnings, fmt.Sprintf("formation: %d of %s are wanted: this service runs one web process at most, and only where the app's deployer is local", f.Quantity, f.Type))
		}
	}
	return p, problems
}

// vars sets the config vars, and says which of them nobody gave.
func (p *plan) vars(settings appjson.Settings, given map[string]string) (problems []Problem) {
	named := map[build.EnvName]string{}
	for name, value := range given {
		named[build.EnvName(name)] = value
	}
	values, missing := settings.Values(named)
	for _, name := range missing {
		problems = append(problems, Problem{"env." + string(name), fmt.Sprintf("config var %s is required", name)})
	}
	p.Vars = map[string]string{}
	size := 0
	for name, value := range values {
		p.Vars[string(name)] = value
		size += len(name) + len(value)
	}
	if len(values) > build.MaxVars || size > build.MaxVarsBytes {
		problems = append(problems, Problem{"env", fmt.Sprintf("an app has at most %d config vars, of %d bytes together", build.MaxVars, build.MaxVarsBytes)})
	}
	return problems
}

// addons says which config vars of add-ons nobody gave: there is nobody here who provides one.
func (p *plan) addons(wanted []appjson.Addon, without bool) (problems []Problem) {
	for _, a := range wanted {
		p.Addons = append(p.Addons, a.String())
		lacks := slices.DeleteFunc(a.Vars(), func(name string) bool { return p.Vars[name] != "" })
		if len(lacks) == 0 {
			continue
		}
		p.Unprovided = append(p.Unprovided, a.String())
		if !without {
			names := strings.Join(lacks, ", ")
			problems = append(problems, Problem{"addons." + a.Service, fmt.Sprintf("add-on %s is not provided here: give the config vars that it would set: %s", a, names)})
		}
	}
	return problems
}

// builtin tells what the default builder has. One that is not here yet cannot be asked: then it is taken to be ours.
func (s *Setups) builtin(ctx context.Context) func(id string) bool {
	ids, err := s.o.Builtin(ctx)
	return func(id string) bool { return err != nil || slices.Contains(ids, id) }
}

// overriding reads buildpacks as an app.json names them.
func overriding(names []string) ([]appjson.Buildpack, []appjson.Finding) {
	type named struct {
		URL string `json:"url"`
	}
	var list struct {
		Buildpacks []named `json:"buildpacks"`
	}
	list.Buildpacks = []named{}
	for _, name := range names {
		list.Buildpacks = append(list.Buildpacks, named{name})
	}
	app, found := appjson.Parse([]byte(build.JSON(list)))
	if app == nil {
		return nil, found
	}
	return app.Buildpacks, found
}

// badVar says in one line what is wrong with a config var, "" where nothing is.
func badVar(name, value string) string {
	switch _, err := build.ParseEnvName(name); {
	case err != nil:
		return "its name has letters, digits and _, no digit first, and does not begin with __"
	case len(value) > build.MaxVarBytes:
		return fmt.Sprintf("its value has more than %d bytes", build.MaxVarBytes)
	case strings.ContainsRune(value, 0):
		return "its value has a NUL, which no environment can have"
	}
	return ""
}

// short makes what others have written fit into a line.
func short(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, s)
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "..."
	}
	return strings.Join(strings.Fields(s), " ")
}
