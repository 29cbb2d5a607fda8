package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/cloud"
)

// RegistryOptions configure the client. Nothing is read from the process's environment.
type RegistryOptions struct {
	// CA is the whole set of trusted roots in PEM; empty means the system's.
	CA []byte
	// Env is a list of NAME=value: HTTP_PROXY, HTTPS_PROXY, NO_PROXY, CNB_REGISTRY_AUTH, the clouds' own
	// variables, and what credential helpers get (PATH and HOME among it).
	Env []string
	// DockerConfig is the path of docker's config.json; it may be absent.
	DockerConfig string
	// Insecure lists registries (host or host:port) that may be reached by plain http. Loopback always may.
	Insecure []string
	// Auth has the credentials of a caller who knows some: registry (host, or host/path) to the value of an Authorization
	// header. They stand before those of CNB_REGISTRY_AUTH.
	Auth      map[string]string
	UserAgent string
}

// A Registry reads and writes images in any registry. It is safe for concurrent use.
type Registry struct {
	base      http.RoundTripper
	keychain  *keychain
	insecure  []string
	userAgent string
	backoff   remote.Backoff
}

// NewRegistry makes a client. It contacts nobody.
func NewRegistry(o RegistryOptions) (*Registry, error) {
	t := newTransport(o.CA, o.Env)
	headers, err := parseRegistryAuth(envValue(o.Env, "CNB_REGISTRY_AUTH"))
	if err == nil {
		headers, err = addHeaders(headers, o.Auth)
	}
	if err != nil {
		return nil, err
	}
	g := &Registry{base: t, userAgent: o.UserAgent,
		keychain: &keychain{headers: headers, config: o.DockerConfig, env: helperEnv(o.Env),
			cloud: cloud.New(func(name string) string { return envValue(o.Env, name) }, t)},
		// Three tries within two seconds: enough for a restart behind a balancer, short enough to wait for.
		backoff: remote.Backoff{Duration: 300 * time.Millisecond, Factor: 4, Jitter: 0.1, Steps: 3}}
	for _, h := range o.Insecure {
		// Platforms name a prefix of repositories too; it is the host that is spoken to by http.
		bare, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(h, "http://"), "https://"), "/")
		host, err := normaliseHost(bare)
		if err != nil || bare == "" {
			return nil, fmt.Errorf("insecure registry %q: want host or host:port", clip(h))
		}
		g.insecure = append(g.insecure, host)
	}
	return g, nil
}

// helperEnv drops what a credential helper has no business with.
func helperEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return strings.HasPrefix(kv, "CNB_REGISTRY_AUTH=") })
}

// plain says whether a host may be spoken to without TLS.
func (g *Registry) plain(host string) bool {
	bare := bareHost(host)
	return isLoopback(bare) || slices.Contains(g.insecure, host) || slices.Contains(g.insecure, bare)
}

func (g *Registry) reference(ref Ref) (name.Reference, error) {
	return ref.reference(g.plain(ref.Host()))
}

func (g *Registry) options(ctx context.Context, ref Ref) []remote.Option {
	return g.optionsOver(ctx, ref, g.base)
}

// hasty is the way to a registry for what is asked before a build begins.
func (g *Registry) hasty() *impatient { return &impatient{base: g.base, wait: answerTime} }

func (g *Registry) optionsOver(ctx context.Context, ref Ref, base http.RoundTripper) []remote.Option {
	t := &resumer{base: &guard{base: base, host: ref.Host()}, wait: resumeWait}
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(t), remote.WithAuthFromKeychain(g.keychain),
		remote.WithUserAgent(g.userAgent), remote.WithJobs(copyJobs), remote.WithRetryBackoff(g.backoff),
		remote.WithRetryPredicate(passes),
	}
}

// passes says whether an error may be gone at the next try. Who cannot be connected to, for as long as that may take, is
// not tried again, nor who says nothing.
func passes(err error) bool {
	if _, ok := errors.AsType[*silentError](err); ok {
		return false
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return false
	}
	return transient(err)
}

// hostPlatform is the platform of this machine's containers.
func hostPlatform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// Image finds an image for a platform (zero: linux on this machine's architecture; with an OS alone, an image that is
// not in an index may be for any architecture, or say none). Manifest and config are read and checked now, layers when
// they are read: ctx must outlive those reads.
func (g *Registry) Image(ctx context.Context, ref Ref, want v1.Platform) (*Image, error) {
	img, err := g.image(ctx, ref, want)
	if pe, ok := err.(*PlatformError); ok {
		pe.Image = ref.Familiar()
		return nil, pe
	}
	if err != nil {
		return nil, g.failed("read", ref, err)
	}
	return img, nil
}

// open reads the manifest that a name leads to, of an image or of an index, and gives what reads the rest.
func (g *Registry) open(ctx context.Context, ref Ref) (*remoteSource, *remote.Descriptor, error) {
	r, err := g.reference(ref)
	if err != nil {
		return nil, nil, err
	}
	t := g.hasty()
	puller, err := remote.NewPuller(g.optionsOver(ctx, ref, t)...)
	if err != nil {
		return nil, nil, err
	}
	desc, err := puller.Get(ctx, r)
	return &remoteSource{g: g, ctx: ctx, ref: ref, puller: puller, hasty: t, repo: r.Context()}, desc, err
}

func (g *Registry) image(ctx context.Context, ref Ref, want v1.Platform) (*Image, error) {
	src, desc, err := g.open(ctx, ref)
	if err != nil {
		return nil, err
	}
	if want.OS == "" {
		want = hostPlatform()
	}
	for n := 0; isIndex(desc.MediaType, desc.Manifest); n++ {
		if n == 3 {
			return nil, fmt.Errorf("image index holds indexes that hold indexes")
		}
		idx, err := parseIndex(desc.Manifest)
		if err != nil {
			return nil, err
		}
		d, err := selectPlatform(idx, want)
		if err != nil {
			return nil, err
		}
		if desc, err = src.puller.Get(ctx, src.repo.Digest(d.Digest.String())); err != nil {
			return nil, err
		}
	}
	raw, err := newRawImage(desc.Manifest, src)
	if err != nil {
		return nil, err
	}
	img, err := found(raw, KindRegistry, ref)
	if err != nil {
		return nil, err
	}
	return img, checkPlatform(img.Config, want)
}

// remoteSource reads the blobs of one repository. The registry client checks digest and size as it reads.
type remoteSource struct {
	g      *Registry
	ctx    context.Context // of the image this belongs to: v1.Layer has no way to hand one in
	ref    Ref
	mu     sync.Mutex
	puller *remote.Puller
	hasty  *impatient // under the puller; nil: it never was
	repo   name.Repository
}

func (s *remoteSource) open(d v1.Descriptor) (io.ReadCloser, error) {
	puller, err := s.connect()
	if err != nil {
		return nil, s.g.failed("read", s.ref, err)
	}
	l, err := puller.Layer(s.ctx, s.repo.Digest(d.Digest.String()))
	if err != nil {
		return nil, s.g.failed("read", s.ref, err)
	}
	rc, err := l.Compressed()
	if err != nil {
		return nil, s.g.failed("read", s.ref, err)
	}
	return &sizedReader{ReadCloser: rc, left: d.Size}, nil
}

func (s *remoteSource) connect() (*remote.Puller, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.puller != nil {
		if s.hasty != nil {
			s.hasty.calm.Store(true)
		}
		return s.puller, nil
	}
	r, err := s.g.reference(s.ref)
	if err != nil {
		return nil, err
	}
	p, err := remote.NewPuller(s.g.options(s.ctx, s.ref)...)
	if err != nil {
		return nil, err
	}
	s.puller, s.repo = p, r.Context()
	return p, nil
}

// source reads blobs of a repository later: nothing is contacted before the first.
func (g *Registry) source(ctx context.Context, ref Ref) *remoteSource {
	return &remoteSource{g: g, ctx: ctx, ref: ref}
}

// sizedReader refuses a blob longer than its descriptor says.
type sizedReader struct {
	io.ReadCloser
	left int64
}

func (r *sizedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.left -= int64(n); r.left < 0 {
		return 0, fmt.Errorf("blob is longer than its manifest says")
	}
	return n, err
}
