package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/slipway-build/slipway/internal/build"
)

// What the Platform API has and a service that builds has not: clients ask for it on the way to something else, and
// are told the truth in a shape that they can read. There is one stack and one region, and none of the rest.

// A nothing is an element of a list that is always empty.
type nothing struct{}

func (s *server) none(context.Context, *call) ([]nothing, error) { return []nothing{}, nil }

// A namedRef has an id and a name.
type namedRef struct {
	ID   build.ID `json:"id"`
	Name string   `json:"name"`
}

// stack is what the Platform API calls apps that are built by Cloud Native Buildpacks.
const stack = build.ToldStack

var (
	theStack      = namedRef{"01900000-0000-7000-8000-000000000001", stack}
	theRegion     = namedRef{"01900000-0000-7000-8000-000000000002", "local"}
	theGeneration = namedRef{"01900000-0000-7000-8000-000000000003", stack}
)

type stackView struct {
	namedRef
	Default   bool   `json:"default"`
	State     string `json:"state"`
	CreatedAt *stamp `json:"created_at"`
	UpdatedAt *stamp `json:"updated_at"`
}

func (s *server) stacks(context.Context, *call) ([]stackView, error) {
	return []stackView{{namedRef: theStack, Default: true, State: "public"}}, nil
}

func (s *server) stack(ctx context.Context, c *call) (stackView, error) {
	return oneNamed(ctx, c, "stack", s.stacks, func(v stackView) namedRef { return v.namedRef })
}

type region struct {
	namedRef
	Country        string   `json:"country"`
	Description    string   `json:"description"`
	Locale         string   `json:"locale"`
	PrivateCapable bool     `json:"private_capable"`
	Provider       provider `json:"provider"`
	CreatedAt      *stamp   `json:"created_at"`
	UpdatedAt      *stamp   `json:"updated_at"`
}

type provider struct {
	Name   string `json:"name"`
	Region string `json:"region"`
}

func (s *server) regions(context.Context, *call) ([]region, error) {
	return []region{{namedRef: theRegion, Description: "where this service is", Provider: provider{"slipway", theRegion.Name}}}, nil
}

func (s *server) region(ctx context.Context, c *call) (region, error) {
	return oneNamed(ctx, c, "region", s.regions, func(v region) namedRef { return v.namedRef })
}

// oneNamed is the one of a list whose name or id is in the path.
func oneNamed[T any](ctx context.Context, c *call, what string, list func(context.Context, *call) ([]T, error), of func(T) namedRef) (v T, err error) {
	all, err := list(ctx, c)
	if err != nil {
		return v, err
	}
	name := c.PathValue("name")
	i := slices.IndexFunc(all, func(v T) bool { return of(v).Name == name || string(of(v).ID) == name })
	if i < 0 {
		return v, &problem{http.StatusNotFound, "not_found", fmt.Sprintf("there is no %s %.80s: the only one is %s", what, name, of(all[0]).Name)}
	}
	return all[i], nil
}

// only refuses another name than the only one that there is.
func only(field string, name *string, is namedRef) error {
	if name == nil || *name == is.Name || *name == string(is.ID) {
		return nil
	}
	return invalid(field, "the only one here is "+is.Name)
}

// A collaborator sees an app: its owner, and nobody besides but administrators.
type collaborator struct {
	ID          build.ID  `json:"id"`
	App         appRef    `json:"app"`
	User        userRef   `json:"user"`
	Role        string    `json:"role"`
	Permissions []nothing `json:"permissions"`
	CreatedAt   *stamp    `json:"created_at"`
	UpdatedAt   *stamp    `json:"updated_at"`
}

func (s *server) collaborators(ctx context.Context, c *call) ([]collaborator, error) {
	name, err := c.userName(ctx, c.app.Owner)
	return []collaborator{{
		ID: c.app.Owner, App: appRef{c.app.ID, c.app.Name}, User: userRef{c.app.Owner, name}, Role: "owner", Permissions: []nothing{},
		CreatedAt: when(c.app.CreatedAt), UpdatedAt: when(c.app.CreatedAt),
	}}, err
}
