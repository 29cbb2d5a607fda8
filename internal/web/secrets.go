package web

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// vars are config vars.
type vars map[string]string

// varChanges are changes of config vars; null removes one.
type varChanges map[string]*string

// limit makes room for the largest config vars, escaped.
func (varChanges) limit() int64 { return 2 << 20 }

// UnmarshalJSON is encoding/json's. An error names the config var.
func (v *varChanges) UnmarshalJSON(text []byte) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	*v = make(varChanges, len(values))
	for name, value := range values {
		var s *string
		if err := json.Unmarshal(value, &s); err != nil {
			return invalid(oneLine(fmt.Sprintf("%.80s", name)), "the value of a config var is a string, or null to remove it")
		}
		(*v)[name] = s
	}
	return nil
}

func (s *server) configVars(ctx context.Context, c *call) (vars, error) {
	all, err := s.Store.Secrets(ctx, c.app.ID, store.SecretVar)
	return vars(all), err
}

func (s *server) changeConfigVars(ctx context.Context, c *call, in varChanges) (vars, error) {
	for name, value := range in {
		if _, err := build.ParseEnvName(name); err != nil {
			return nil, invalid(oneLine(fmt.Sprintf("%.80s", name)), "the name of a config var has letters, digits and _, no digit first, and does not begin with __")
		}
		if value != nil && len(*value) > build.MaxVarBytes {
			return nil, invalid(name, fmt.Sprintf("its value has more than %d bytes", build.MaxVarBytes))
		}
		if value != nil && strings.ContainsRune(*value, 0) {
			return nil, invalid(name, "its value has a NUL, which no environment can have")
		}
	}
	all, err := s.Store.ChangeSecrets(ctx, c.app.ID, store.SecretVar, in, func(after map[string]string) error {
		size := 0
		for name, value := range after {
			size += len(name) + len(value)
		}
		if len(after) > build.MaxVars || size > build.MaxVarsBytes {
			return invalid("config vars", fmt.Sprintf("an app has at most %d, of %d bytes together", build.MaxVars, build.MaxVarsBytes))
		}
		return nil
	})
	return vars(all), err
}

// A binding is a service binding: the names of its files, and never what is in them.
type binding struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Provider string   `json:"provider"`
	Files    []string `json:"files"`
}

type bindingRequest struct {
	Type     string            `json:"type"`
	Provider string            `json:"provider"`
	Files    map[string]string `json:"files"`
}

// Limits of an app's bindings.
const (
	maxBindings     = 100
	maxBindingFiles = 100
	maxBindingBytes = 1 << 20 // of all files of all bindings
)

// fileOf are the files of a binding that say what it is (Service Binding Specification, "Workload Projection").
const (
	fileOfType     = "type"
	fileOfProvider = "provider"
)

var (
	bindingPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`) })
	filePattern    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}$`) })
)

func bindingOf(name string, files map[string]string) binding {
	b := binding{Name: name, Type: files[fileOfType], Provider: files[fileOfProvider], Files: []string{}}
	for _, f := range slices.Sorted(maps.Keys(files)) {
		if f != fileOfType && f != fileOfProvider {
			b.Files = append(b.Files, f)
		}
	}
	return b
}

func (s *server) bindings(ctx context.Context, c *call) ([]binding, error) {
	all, err := s.Store.Secrets(ctx, c.app.ID, store.SecretBinding)
	if err != nil {
		return nil, err
	}
	out := []binding{}
	for name, text := range all {
		var files map[string]string
		if err := json.Unmarshal([]byte(text), &files); err != nil {
			return nil, fmt.Errorf("binding %s of app %s is damaged", name, c.app.Name)
		}
		out = append(out, bindingOf(name, files))
	}
	return listed(c, out, attribute[binding]{"name", func(b binding) string { return b.Name }})
}

func (s *server) putBinding(ctx context.Context, c *call, in bindingRequest) (out binding, err error) {
	name := c.PathValue("name")
	if !bindingPattern().MatchString(name) {
		return out, invalid("name", "the name of a binding has 1 to 63 lower-case letters, digits, dots and dashes, a letter or digit first and last")
	}
	if in.Type == "" {
		return out, invalid("type", "a binding has one, such as postgresql or ca-certificates")
	}
	for field, text := range map[string]string{"type": in.Type, "provider": in.Provider} {
		if err := line(field, text, 200); err != nil {
			return out, err
		}
	}
	if len(in.Files) > maxBindingFiles {
		return out, invalid("files", fmt.Sprintf("a binding has at most %d", maxBindingFiles))
	}
	files := map[string]string{fileOfType: in.Type}
	if in.Provider != "" {
		files[fileOfProvider] = in.Provider
	}
	for file, content := range in.Files {
		if _, twice := files[file]; twice || file == fileOfProvider || !filePattern().MatchString(file) {
			return out, invalid("files", fmt.Sprintf("%.80q: the name of a file has letters, digits and . _ -, no dot first, and is not type or provider", file))
		}
		files[file] = content
	}
	text := build.JSON(files)
	_, err = s.Store.ChangeSecrets(ctx, c.app.ID, store.SecretBinding, map[string]*string{name: &text}, fit("files", maxBindings, maxBindingBytes))
	return bindingOf(name, files), err
}

// fit refuses more secrets of a kind than an app may have.
func fit(field string, most, bytes int) func(map[string]string) error {
	return func(after map[string]string) error {
		size := 0
		for _, text := range after {
			size += len(text)
		}
		if len(after) > most || size > bytes {
			return invalid(field, fmt.Sprintf("an app has at most %d, of %d bytes together", most, bytes))
		}
		return nil
	}
}

func (s *server) deleteBinding(ctx context.Context, c *call) (out binding, err error) {
	text, err := s.removeSecret(ctx, c, store.SecretBinding, c.PathValue("name"))
	if err != nil {
		return out, err
	}
	var files map[string]string
	_ = json.Unmarshal([]byte(text), &files) // one that is damaged can be removed too
	return bindingOf(c.PathValue("name"), files), nil
}

func (s *server) removeSecret(ctx context.Context, c *call, kind store.SecretKind, name string) (string, error) {
	all, err := s.Store.Secrets(ctx, c.owner(), kind)
	if err != nil {
		return "", err
	}
	text, ok := all[name]
	if !ok {
		return "", &problem{http.StatusNotFound, "not_found", fmt.Sprintf("there is none of the name %.80q", name)}
	}
	_, err = s.Store.ChangeSecrets(ctx, c.owner(), kind, map[string]*string{name: nil}, nil)
	return text, err
}

// owner is whose secrets a route is about: the app's of its path, else the user's.
func (c *call) owner() build.ID {
	if c.app.ID != "" {
		return c.app.ID
	}
	return c.actor.User.ID
}

// A hostRef is all that anybody sees of credentials.
type hostRef struct {
	Host string `json:"host"`
}

func (s *server) gitHosts(ctx context.Context, c *call) ([]hostRef, error) {
	return s.hosts(ctx, c, store.SecretGit)
}

func (s *server) registryHosts(ctx context.Context, c *call) ([]hostRef, error) {
	return s.hosts(ctx, c, store.SecretRegistry)
}

func (s *server) hosts(ctx context.Context, c *call, kind store.SecretKind) ([]hostRef, error) {
	all, err := s.Store.Secrets(ctx, c.owner(), kind)
	if err != nil {
		return nil, err
	}
	out := []hostRef{}
	for name := range all {
		out = append(out, hostRef{name})
	}
	return listed(c, out, attribute[hostRef]{"host", func(h hostRef) string { return h.Host }})
}

// registryCredentials are what a registry wants, and their form at rest.
type registryCredentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func (s *server) putGit(ctx context.Context, c *call, in store.GitCredentials) (hostRef, error) {
	switch block, _ := pem.Decode([]byte(in.Key)); {
	case in.Key == "" && in.Password == "":
		return hostRef{}, invalid("password", "give a username and a password (or token), or a key")
	case in.Key != "" && in.Password+in.Username != "":
		return hostRef{}, invalid("key", "give a username and a password, or a key, not both")
	case in.Key != "" && (block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY")):
		return hostRef{}, invalid("key", "it is no private key in PEM form")
	}
	return s.putHost(ctx, c, store.SecretGit, build.JSON(in))
}

func (s *server) putRegistry(ctx context.Context, c *call, in registryCredentials) (hostRef, error) {
	if in.Username == "" || in.Password == "" {
		return hostRef{}, invalid("password", "give a username and a password")
	}
	return s.putHost(ctx, c, store.SecretRegistry, build.JSON(in))
}

func (s *server) putHost(ctx context.Context, c *call, kind store.SecretKind, text string) (hostRef, error) {
	h, err := host(c.PathValue("host"))
	if err != nil {
		return hostRef{}, err
	}
	if len(text) > 64<<10 {
		return hostRef{}, invalid("password", "it is too long")
	}
	_, err = s.Store.ChangeSecrets(ctx, c.owner(), kind, map[string]*string{h: &text}, fit("host", 100, 1<<20))
	return hostRef{h}, err
}

func (s *server) deleteGit(ctx context.Context, c *call) (hostRef, error) {
	return s.deleteHost(ctx, c, store.SecretGit)
}

func (s *server) deleteRegistry(ctx context.Context, c *call) (hostRef, error) {
	return s.deleteHost(ctx, c, store.SecretRegistry)
}

func (s *server) deleteHost(ctx context.Context, c *call, kind store.SecretKind) (hostRef, error) {
	h := strings.ToLower(c.PathValue("host"))
	_, err := s.removeSecret(ctx, c, kind, h)
	return hostRef{h}, err
}
