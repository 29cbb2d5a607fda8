package image

import (
	"context"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
)

// remembered holds credentials by repository. Safe for concurrent use.
type remembered struct {
	mu   sync.Mutex
	auth map[string]authn.Authenticator
}

func (m *remembered) get(repository string) (authn.Authenticator, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.auth[repository]
	return a, ok
}

func (m *remembered) set(repository string, a authn.Authenticator) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.auth == nil {
		m.auth = map[string]authn.Authenticator{}
	}
	m.auth[repository] = a
}

// Remember asks for the credentials of these images' repositories now and keeps them, for a process that is about to
// become a user who can read neither docker's configuration nor what its helpers need. Layouts and IDs are passed over.
func (g *Registry) Remember(ctx context.Context, refs ...Ref) error {
	for _, ref := range refs {
		if !ref.IsName() {
			continue
		}
		r, err := g.reference(ref)
		if err != nil {
			return err
		}
		auth, err := g.keychain.ResolveContext(ctx, r.Context())
		if err != nil {
			return err
		}
		g.keychain.kept.set(r.Context().String(), auth)
	}
	return nil
}
