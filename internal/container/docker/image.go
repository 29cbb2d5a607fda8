package docker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/client"

	"github.com/slipway-build/slipway/internal/container"
)

// Image is what the engine knows of an image. It is not the image's config
// file: that comes byte for byte out of Save only.
type Image struct {
	ID          string // config digest, or manifest digest with Info.ContainerdStore
	Tags        []string
	RepoDigests []string
	OS          string
	OSVersion   string
	// Architecture and Variant are GOARCH and its variant.
	Architecture, Variant string
	Created               time.Time // zero when the image does not say
	Author                string
	Size                  int64
	DiffIDs               []string // of its layers, from the base up

	User, WorkingDir     string
	Env, Entrypoint, Cmd []string
	Labels               map[string]string
	ExposedPorts         []string // "8080/tcp"
	Volumes              []string
	StopSignal           string

	// Raw is the engine's whole answer, for what is not above.
	Raw []byte
}

// Step is one line of an image's history, the oldest first.
type Step struct {
	Created   time.Time
	CreatedBy string
	Comment   string
	Size      int64
}

// Inspect finds an image by reference or id. Absent, the error wraps
// container.ErrNoImage.
func (r *Runtime) Inspect(ctx context.Context, ref string) (*Image, error) {
	if err := checkRef(ref); err != nil {
		return nil, err
	}
	var raw bytes.Buffer
	res, err := r.api.ImageInspect(ctx, ref, client.ImageInspectWithRawResponse(&raw))
	if err != nil {
		return nil, imageError("inspect", ref, err)
	}
	im := &Image{
		ID: res.ID, Tags: res.RepoTags, RepoDigests: res.RepoDigests,
		OS: res.Os, OSVersion: res.OsVersion, Architecture: res.Architecture, Variant: res.Variant,
		Author: res.Author, Size: res.Size, DiffIDs: res.RootFS.Layers, Raw: raw.Bytes(),
	}
	if t, err := time.Parse(time.RFC3339Nano, res.Created); err == nil && !t.IsZero() {
		im.Created = t
	}
	if res.Config != nil {
		im.config(res.Config)
	}
	return im, nil
}

func (im *Image) config(c *dockerspec.DockerOCIImageConfig) {
	im.User, im.WorkingDir, im.StopSignal = c.User, c.WorkingDir, c.StopSignal
	im.Env, im.Entrypoint, im.Cmd, im.Labels = c.Env, c.Entrypoint, c.Cmd, c.Labels
	im.ExposedPorts, im.Volumes = slices.Sorted(maps.Keys(c.ExposedPorts)), slices.Sorted(maps.Keys(c.Volumes))
}

// Exists reports whether the engine has ref.
func (r *Runtime) Exists(ctx context.Context, ref string) (bool, error) {
	_, err := r.Inspect(ctx, ref)
	if errors.Is(err, container.ErrNoImage) {
		return false, nil
	}
	return err == nil, err
}

// History is how the image came to be, the oldest step first.
func (r *Runtime) History(ctx context.Context, ref string) ([]Step, error) {
	if err := checkRef(ref); err != nil {
		return nil, err
	}
	res, err := r.api.ImageHistory(ctx, ref)
	if err != nil {
		return nil, imageError("read the history of", ref, err)
	}
	steps := make([]Step, len(res.Items))
	for i, h := range res.Items {
		steps[len(steps)-1-i] = Step{Created: time.Unix(h.Created, 0).UTC(), CreatedBy: h.CreatedBy, Comment: h.Comment, Size: h.Size}
	}
	return steps, nil
}

// Load reads a docker-archive or OCI layout tar and returns when the engine
// has it. What the engine refuses is an error, though it answers 200.
func (r *Runtime) Load(ctx context.Context, tar io.Reader) error {
	res, err := r.api.ImageLoad(ctx, tar, client.ImageLoadWithQuiet(true))
	if err != nil {
		return fmt.Errorf("load an image into Docker: %w", trim(err))
	}
	defer res.Close()
	for dec := json.NewDecoder(res); ; {
		var line struct {
			Error       string `json:"error"`
			ErrorDetail struct {
				Message string `json:"message"`
			} `json:"errorDetail"`
		}
		switch err := dec.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("load an image into Docker: read its answer: %w", err)
		case line.Error != "" || line.ErrorDetail.Message != "":
			text := cmp.Or(line.ErrorDetail.Message, line.Error)
			if text == "max depth exceeded" {
				text = "it has more layers than Docker's storage can stack (127 or so): make fewer, or write the image elsewhere"
			}
			return fmt.Errorf("load an image into Docker: %s", text)
		}
	}
}

// Save writes images as one docker-archive tar. Their config files are in it
// byte for byte.
func (r *Runtime) Save(ctx context.Context, refs []string, w io.Writer) error {
	for _, ref := range refs {
		if err := checkRef(ref); err != nil {
			return err
		}
	}
	res, err := r.api.ImageSave(ctx, refs)
	if err != nil {
		return imageError("save", strings.Join(refs, ", "), err)
	}
	defer res.Close()
	if _, err := io.Copy(w, res); err != nil {
		return fmt.Errorf("save %s from Docker: %w", strings.Join(refs, ", "), err)
	}
	return nil
}

// Tag gives an image one more name.
func (r *Runtime) Tag(ctx context.Context, ref, name string) error {
	if err := checkRef(ref); err != nil {
		return err
	}
	if _, err := r.api.ImageTag(ctx, client.ImageTagOptions{Source: ref, Target: name}); err != nil {
		return imageError("tag "+name+" on", ref, err)
	}
	return nil
}

// Remove takes a name off an image, and deletes the image with its last name.
// Absent, the error wraps container.ErrNoImage.
func (r *Runtime) Remove(ctx context.Context, ref string) error {
	if err := checkRef(ref); err != nil {
		return err
	}
	if _, err := r.api.ImageRemove(ctx, ref, client.ImageRemoveOptions{PruneChildren: true}); err != nil {
		return imageError("remove", ref, err)
	}
	return nil
}

// checkRef keeps a reference a reference: it becomes part of a URL's path.
func checkRef(ref string) error {
	if ref == "" || strings.ContainsAny(ref, " ?#%\\\x00\n") || strings.HasPrefix(ref, "/") || strings.Contains("/"+ref+"/", "/../") || strings.Contains("/"+ref+"/", "/./") {
		return fmt.Errorf("%q is not an image's name or id", ref)
	}
	return nil
}

func imageError(verb, ref string, err error) error {
	if cerrdefs.IsNotFound(err) {
		return fmt.Errorf("%s image %s: Docker has %w", verb, ref, container.ErrNoImage)
	}
	return fmt.Errorf("%s image %s: %w", verb, ref, trim(err))
}
