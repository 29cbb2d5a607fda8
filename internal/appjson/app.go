package appjson

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"net/url"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
)

// An App is what an app.json asks for. Its texts are of others: they have no control characters, and are to be escaped
// wherever they are shown. Its URLs are https or http.
type App struct {
	Name        string
	Description string
	Keywords    []string
	Website     string
	Repository  string
	Logo        string
	// SuccessURL is where people go after a deploy: a URL, or a path below the app's own. See Success.
	SuccessURL string
	// Stack and Image are hints of the classic platform, as they are written. Nothing here obeys them.
	Stack, Image string

	Settings
	environments map[Environment]Settings
}

// An Environment is what an app is made for.
type Environment string

// The environments that an app.json may have settings for.
const (
	Test       Environment = "test"       // of the app's own tests
	Review     Environment = "review"     // of a change that somebody looks at
	Production Environment = "production" // of a deploy by a button, an API or a person
)

// Settings are what may differ from one environment to another. nil is what is not said, and not what is said to be empty.
type Settings struct {
	Env        []Var       // in the order of the file
	Formation  []Process   // in the order of the file
	Addons     []Addon     // in the order in which they are wanted
	Buildpacks []Buildpack // in the order in which they build
	Scripts    *Scripts
}

// For are the settings of an environment: each key that the environment has, whole; the others are the app's.
func (a *App) For(e Environment) Settings {
	s, own := a.Settings, a.environments[e]
	if own.Env != nil {
		s.Env = own.Env
	}
	if own.Formation != nil {
		s.Formation = own.Formation
	}
	if own.Addons != nil {
		s.Addons = own.Addons
	}
	if own.Buildpacks != nil {
		s.Buildpacks = own.Buildpacks
	}
	if own.Scripts != nil {
		s.Scripts = own.Scripts
	}
	if s.Scripts == nil {
		s.Scripts = &Scripts{}
	}
	return s
}

// A Var is a config var that an app wants.
type Var struct {
	Name        build.EnvName
	Description string
	Value       string // the default
	HasValue    bool   // there is a default, which may be empty
	Required    bool
	Secret      bool // its value is made by Secret
	Line        int
}

// Missing tells that somebody has to give a value before the app can be deployed.
func (v Var) Missing() bool { return v.Required && !v.HasValue && !v.Secret }

// Secret makes the value of a Var that wants a secret: 64 hexadecimal digits.
func Secret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Values are the config vars of a deploy: those that are given, also such as the app does not know, then made secrets,
// then defaults. missing are the ones that the app requires and that nobody gave, or gave as nothing.
func (s Settings) Values(given map[build.EnvName]string) (values map[build.EnvName]string, missing []build.EnvName) {
	values = maps.Clone(given)
	if values == nil {
		values = map[build.EnvName]string{}
	}
	for _, v := range s.Env {
		text, ok := given[v.Name]
		switch {
		case ok && (text != "" || !v.Required):
		case ok && !v.Secret || v.Missing():
			delete(values, v.Name)
			missing = append(missing, v.Name)
		case v.Secret:
			values[v.Name] = Secret()
		case v.HasValue:
			values[v.Name] = v.Value
		}
	}
	return values, missing
}

// A Process is how many of a process type run at first.
type Process struct {
	Type     string
	Quantity int
	Size     string // of the classic platform: a hint
}

// An Addon is a service that an app wants beside it.
type Addon struct {
	Service string // such as heroku-postgresql
	Plan    string // "" is the service's own choice
	As      string // the name of the attachment, "" is the service's own choice
	Options map[string]string
	Line    int
}

// String is how the classic command line names the add-on.
func (a Addon) String() string {
	if a.Plan == "" {
		return a.Service
	}
	return a.Service + ":" + a.Plan
}

// Scripts are commands of an app, each for a shell in a container of its image.
type Scripts struct {
	Postdeploy   string // once, after the first release
	PRPredestroy string // before a review app goes
	TestSetup    string // before Test, in the test environment
	Test         string
}

// Success is where people go when the app runs at webURL; "" is nowhere that we know.
func (a *App) Success(webURL string) string {
	if !strings.HasPrefix(a.SuccessURL, "/") {
		return a.SuccessURL
	}
	base, err := url.Parse(webURL)
	if err != nil || base.Host == "" {
		return ""
	}
	to, err := base.Parse(a.SuccessURL)
	if err != nil || to.Host != base.Host {
		return ""
	}
	return to.String()
}
