package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/health"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/registrar"
)

// What publishes buildpacks in the service's own index, and says whose namespaces are.

type registerRequest struct {
	Image  string `json:"image"`  // HOST/REPOSITORY@sha256:DIGEST
	Reason string `json:"reason"` // stands in the commit; may be empty
}

// A registered is a version of a buildpack in the index, and the commit at which it stands so.
type registered struct {
	Buildpack string `json:"buildpack"`
	Version   string `json:"version"`
	Image     string `json:"image"`
	Yanked    bool   `json:"yanked"`
	Commit    string `json:"commit"`
	Changed   bool   `json:"changed"` // false: it was so already
}

func registeredOf(r registrar.Result) registered {
	return registered{r.Buildpack, r.Version, r.Address, r.Yanked, r.Commit, r.Changed}
}

// noIndex is the answer of a service without one.
func (s *server) noIndex() error {
	if s.Registrar == nil {
		return &problem{status: http.StatusNotFound, ID: "not_found", Message: "this service keeps no index of buildpacks"}
	}
	return nil
}

func (s *server) registerBuildpack(ctx context.Context, c *call, in registerRequest) (out registered, err error) {
	if err := s.noIndex(); err != nil {
		return out, err
	}
	if in.Image == "" {
		return out, invalid("image", "say which: HOST/REPOSITORY@sha256:DIGEST")
	}
	if err := line("reason", in.Reason, 500); err != nil {
		return out, err
	}
	done, err := s.Registrar.Register(ctx, c.actor, in.Image, in.Reason)
	if err == nil && !done.Changed {
		c.status = http.StatusOK
	}
	return registeredOf(done), err
}

type yankRequest struct {
	Yanked *bool  `json:"yanked"`
	Reason string `json:"reason"`
}

func (s *server) yankBuildpack(ctx context.Context, c *call, in yankRequest) (out registered, err error) {
	if err := s.noIndex(); err != nil {
		return out, err
	}
	if in.Yanked == nil {
		return out, invalid("yanked", "say whether it is to be yanked, or not any more")
	}
	if err := line("reason", in.Reason, 500); err != nil {
		return out, err
	}
	n, err := index.ParseName(c.PathValue("ns") + "/" + c.PathValue("name"))
	if err != nil {
		return out, badRequest(err.Error())
	}
	done, err := s.Registrar.Yank(ctx, c.actor, n, c.PathValue("version"), *in.Yanked, in.Reason)
	return registeredOf(done), err
}

// An indexHealth is what was last found out about the images of an index. Results are of those that are not as they should be.
type indexHealth struct {
	Index     string         `json:"index"`
	Revision  string         `json:"revision"`
	CheckedAt *stamp         `json:"checked_at"`
	Live      int            `json:"live"`    // versions that are not yanked
	Checked   int            `json:"checked"` // of them
	Counts    map[string]int `json:"counts"`  // by state: ok, moved, limited, unreachable, dead
	Results   []imageHealth  `json:"results"`
}

type imageHealth struct {
	Buildpack string `json:"buildpack"`
	Version   string `json:"version"`
	Address   string `json:"address"`
	State     string `json:"state"`
	Status    int    `json:"status"` // of HTTP; 0: nobody answered
	Detail    string `json:"detail"`
	CheckedAt *stamp `json:"checked_at"`
}

func (s *server) registryHealth(ctx context.Context, _ *call) ([]indexHealth, error) {
	out := []indexHealth{}
	if s.Health == nil {
		return out, nil
	}
	all, err := s.Health(ctx)
	if err != nil {
		return nil, fmt.Errorf("health of indexes: %w", err)
	}
	for _, r := range all {
		h := indexHealth{Index: r.Index, Revision: r.Revision, CheckedAt: when(r.Checked), Live: r.Live, Checked: len(r.Results), Counts: map[string]int{}, Results: []imageHealth{}}
		for _, state := range health.States() {
			h.Counts[string(state)] = r.Counts[state]
		}
		for _, one := range r.Results {
			if one.State != health.OK {
				h.Results = append(h.Results, imageHealth{one.Buildpack, one.Version, one.Address, string(one.State), one.Status, one.Detail, when(one.Checked)})
			}
		}
		out = append(out, h)
	}
	return out, nil
}

// A namespace is the first part of buildpacks' ids, and whose it is. The user may be gone: then it has no name.
type namespace struct {
	Name      string  `json:"name"`
	Owner     userRef `json:"owner"`
	CreatedAt *stamp  `json:"created_at"`
}

func (c *call) namespaceOf(ctx context.Context, n build.Namespace) (namespace, error) {
	name, err := c.userName(ctx, n.Owner)
	return namespace{n.Name, userRef{n.Owner, name}, when(n.CreatedAt)}, err
}

func (s *server) namespaces(ctx context.Context, c *call) ([]namespace, error) {
	all, err := s.Store.Namespaces(ctx)
	if err != nil {
		return nil, err
	}
	all, err = listed(c, all, attribute[build.Namespace]{"name", func(n build.Namespace) string { return n.Name }})
	if err != nil {
		return nil, err
	}
	out := make([]namespace, len(all))
	for i, n := range all {
		if out[i], err = c.namespaceOf(ctx, n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type namespaceRequest struct {
	Owner string `json:"owner"` // id or name; empty: who asks
}

func (s *server) giveNamespace(ctx context.Context, c *call, in namespaceRequest) (out namespace, err error) {
	if err := s.noIndex(); err != nil {
		return out, err
	}
	owner := c.actor.User
	if in.Owner != "" {
		if owner, err = s.Store.User(ctx, in.Owner); errors.Is(err, build.ErrNotFound) {
			return out, invalid("owner", "there is no such user")
		} else if err != nil {
			return out, err
		}
	}
	n, err := s.Registrar.Give(ctx, c.actor, c.PathValue("ns"), owner)
	if err != nil {
		return out, err
	}
	return c.namespaceOf(ctx, n)
}
