package client

import (
	"context"
	"iter"
	"net/http"
	"time"
)

// A Registered is a version of a buildpack in the service's index, and the commit at which it stands so.
type Registered struct {
	Buildpack string `json:"buildpack"`
	Version   string `json:"version"`
	Image     string `json:"image"`
	Yanked    bool   `json:"yanked"`
	Commit    string `json:"commit"`
	Changed   bool   `json:"changed"` // false: it was so already
}

// A Namespace is the first part of buildpacks' ids, and whose it is; Owner.Email is the user's name.
type Namespace struct {
	Name  string `json:"name"`
	Owner struct {
		ID    string `json:"id"`
		Email string `json:"email"`
	} `json:"owner"`
	CreatedAt time.Time `json:"created_at"`
}

// An IndexHealth is what the service last found out about the images of an index. Results are of those that are not ok.
type IndexHealth struct {
	Index     string         `json:"index"`
	Revision  string         `json:"revision"`
	CheckedAt *time.Time     `json:"checked_at"`
	Live      int            `json:"live"`
	Checked   int            `json:"checked"`
	Counts    map[string]int `json:"counts"`
	Results   []ImageHealth  `json:"results"`
}

// An ImageHealth is how one version was found.
type ImageHealth struct {
	Buildpack string     `json:"buildpack"`
	Version   string     `json:"version"`
	Address   string     `json:"address"`
	State     string     `json:"state"`
	Status    int        `json:"status"`
	Detail    string     `json:"detail"`
	CheckedAt *time.Time `json:"checked_at"`
}

// IndexHealth is the last health of the service's own index and of those that its builds look into.
func (c *Client) IndexHealth(ctx context.Context) ([]IndexHealth, error) {
	return result[[]IndexHealth](ctx, c, http.MethodGet, nil, "registry", "health")
}

// RegisterBuildpack puts an image, which is named by its digest, into the service's index.
func (c *Client) RegisterBuildpack(ctx context.Context, image, reason string) (Registered, error) {
	return result[Registered](ctx, c, http.MethodPost, map[string]string{"image": image, "reason": reason}, "registry", "buildpacks")
}

// YankBuildpack withdraws a version of a buildpack in the service's index, or takes that back.
func (c *Client) YankBuildpack(ctx context.Context, ns, name, version string, yanked bool, reason string) (Registered, error) {
	return result[Registered](ctx, c, http.MethodPatch, map[string]any{"yanked": yanked, "reason": reason}, "registry", "buildpacks", ns, name, version)
}

// Namespaces lists the namespaces of the service's index.
func (c *Client) Namespaces(ctx context.Context) iter.Seq2[Namespace, error] {
	return pages[Namespace](ctx, c, Range{}, "registry", "namespaces")
}

// GiveNamespace makes a namespace a user's; "" is whoever asks.
func (c *Client) GiveNamespace(ctx context.Context, ns, owner string) (Namespace, error) {
	return result[Namespace](ctx, c, http.MethodPut, map[string]string{"owner": owner}, "registry", "namespaces", ns)
}
