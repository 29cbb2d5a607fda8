package daemon

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/registry"
	"github.com/slipway-build/slipway/internal/service"
	"github.com/slipway-build/slipway/internal/work"
)

// base is how clients reach the service.
func (d *Daemon) base() *url.URL {
	text := d.config.URL
	if text == "" {
		text = "http://" + d.config.Listen
	}
	u, err := url.Parse(text)
	if err != nil {
		return &url.URL{Scheme: "http", Host: d.config.Listen}
	}
	return u
}

// repository is where images of an app go that names none; with no app, what stands before all of them.
func (d *Daemon) repository(app build.AppName) string {
	at := d.config.Registry
	if at == "" {
		at = d.base().Host
	}
	if app == "" {
		return at
	}
	return at + "/" + string(app)
}

// own is the repository in our own registry that a name means.
func (d *Daemon) own(repository string) (string, bool) {
	if d.images == nil {
		return "", false
	}
	return strings.CutPrefix(repository, d.base().Host+"/")
}

// A tagger is service.Tagger: in our own registry, and elsewhere with the credentials of the service.
type tagger struct{ *Daemon }

func (t tagger) Tag(ctx context.Context, credentials []work.Credential, repository, tag, digest string) error {
	if repo, ok := t.own(repository); ok {
		return t.images.Tag(ctx, repo, tag, digest)
	}
	ref, err := image.ParseRef(repository + ":" + tag)
	if err != nil {
		return err
	}
	g, err := t.registryWith(credentials)
	if err != nil {
		return err
	}
	return g.Tag(ctx, ref, digest)
}

func (t tagger) Has(ctx context.Context, credentials []work.Credential, repository, digest string) (bool, error) {
	if repo, ok := t.own(repository); ok {
		return t.images.Has(ctx, repo, digest)
	}
	ref, err := image.ParseRef(repository + "@" + digest)
	if err != nil {
		return false, err
	}
	g, err := t.registryWith(credentials)
	if err != nil {
		return false, err
	}
	err = g.CheckRead(ctx, ref)
	if e, ok := errors.AsType[*image.RegistryError](err); ok && e.Reason == image.ReasonNotFound {
		return false, nil
	}
	return err == nil, err
}

// jobUser is the name under which a build's own credential is used.
const jobUser = "build"

// credential opens a repository of our own registry to a claim, for as long as it lives: to read, and to push without
// a name.
func (d *Daemon) credential(repository string, c work.Claim) *work.Credential {
	repo, ok := d.own(repository)
	if !ok {
		return nil
	}
	return &work.Credential{Registry: d.base().Host, Username: jobUser, Password: fmt.Sprintf("%s.%d.%s", c.Build, c.Fence, d.sign("job", repo, string(c.Build), fmt.Sprint(c.Fence)))}
}

// sign is a signature of words that only this service can make.
func (d *Daemon) sign(words ...string) string {
	m := hmac.New(sha256.New, d.seal)
	for _, w := range words {
		fmt.Fprintf(m, "%d:%s", len(w), w)
	}
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// authorizeImage is registry.Options.Authorize. A repository whose name has no slash is the app's of that name; the others
// are shared: every user and every build may pull from them, and administrators push, and to those that begin with a
// namespace of the index its owner.
func (d *Daemon) authorizeImage(ctx context.Context, a registry.Access) error {
	if a.Username == jobUser && strings.Count(a.Password, ".") == 2 {
		return d.authorizeJob(ctx, a)
	}
	if a.Username == selfUser && hmac.Equal([]byte(a.Password), []byte(d.sign("self"))) {
		if a.Verb != registry.Pull {
			return registry.ErrDenied
		}
		return nil
	}
	text := a.Token
	if text == "" {
		text = a.Password
	}
	who, err := d.store.Authenticate(ctx, text)
	if errors.Is(err, build.ErrNotFound) {
		return registry.ErrUnauthenticated
	}
	if err != nil || a.Repository == "" {
		return err
	}
	verb := build.VerbDeploy
	if a.Verb == registry.Pull {
		verb = build.VerbRead
	}
	if shared(a.Repository) {
		if a.Verb == registry.Pull && who.Can(build.VerbRead) || who.User.Admin && who.Token.App == "" && who.Can(build.VerbManage) {
			return nil
		}
		if ns, _, _ := strings.Cut(a.Repository, "/"); a.Verb != registry.Delete {
			if owns, err := d.registrar.Owns(ctx, who, ns); owns || err != nil {
				return err
			}
		}
		return registry.ErrDenied
	}
	_, err = d.store.App(ctx, who, a.Repository)
	if errors.Is(err, build.ErrNotFound) || err == nil && !who.Can(verb) {
		return registry.ErrDenied
	}
	return err
}

func shared(repository string) bool { return strings.Contains(repository, "/") }

// selfUser is the name under which the service reads from its own registry.
const selfUser = "slipway"

// runRelease runs the release process of an image, kept from private addresses as the app itself is.
func (d *Daemon) runRelease(ctx context.Context, r build.Release, env map[string]string, l build.Limits, log io.Writer) error {
	m, err := d.machineOf(ctx, r)
	if err != nil {
		return err
	}
	return platform.RunProcess(ctx, m, platform.Process{
		Image: r.Repository + "@" + r.Digest, Type: service.ReleaseProcess, Env: env, Public: true, Output: log,
		Limits: platform.Limits{Memory: l.Memory, CPUs: l.CPUs, PIDs: l.PIDs, Disk: l.Disk, Time: l.Time},
		Labels: map[string]string{"build.slipway.release": string(r.ID)},
	})
}

// machineOf is the machine that can pull the image of a release.
func (d *Daemon) machineOf(ctx context.Context, r build.Release) (*platform.Machine, error) {
	credentials, err := d.service.Credentials(ctx, r.App)
	if err != nil {
		return nil, err
	}
	if _, ok := d.own(r.Repository); ok {
		credentials = append(credentials, work.Credential{Registry: d.base().Host, Username: selfUser, Password: d.sign("self")})
	}
	return d.machineFor(credentials)
}

// authorizeJob looks at a build's own credential.
func (d *Daemon) authorizeJob(ctx context.Context, a registry.Access) error {
	id, rest, _ := strings.Cut(a.Password, ".")
	fence, signature, _ := strings.Cut(rest, ".")
	b, err := d.store.BuildByID(ctx, build.ID(id))
	if errors.Is(err, build.ErrNotFound) || err == nil && (b.State != build.Running || fmt.Sprint(b.Fence) != fence) {
		return registry.ErrUnauthenticated
	}
	if err != nil {
		return err
	}
	app, err := d.store.AppByID(ctx, b.App)
	if err != nil {
		return err
	}
	repo := string(app.Name)
	if own, ok := d.own(app.Image); ok {
		repo = own
	}
	if !hmac.Equal([]byte(signature), []byte(d.sign("job", repo, id, fence))) {
		return registry.ErrUnauthenticated
	}
	switch {
	case a.Repository == "":
		return nil
	case a.Repository == repo && a.Tag == "" && a.Verb != registry.Delete, a.Verb == registry.Pull && (a.Repository == repo || shared(a.Repository)):
		return nil
	}
	return registry.ErrDenied
}

// machineFor is the machine with a job's credentials before the host's own.
func (d *Daemon) machineFor(credentials []work.Credential) (*platform.Machine, error) {
	g, err := d.registryWith(credentials)
	if err != nil {
		return nil, err
	}
	m := *d.machine
	m.Registry = g
	return &m, nil
}

func (d *Daemon) registryWith(credentials []work.Credential) (*image.Registry, error) {
	o := d.host.Settings.Registry
	o.Auth = map[string]string{}
	for _, c := range credentials {
		o.Auth[c.Registry] = "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))
	}
	return image.NewRegistry(o)
}
