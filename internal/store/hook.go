package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// hookSettings is what hooks.settings holds.
type hookSettings struct {
	Repository string   `json:"repository"`
	Branches   []string `json:"branches,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	Paths      []string `json:"paths,omitempty"`
	Submodules bool     `json:"submodules,omitempty"`
}

// hookSecrets is what hooks.secrets holds, sealed.
type hookSecrets struct {
	Current  string `json:"current"`
	Previous string `json:"previous,omitempty"`
}

// secretHook is what the secrets of a hook are sealed for.
const secretHook SecretKind = "hook"

// hookPrefix lets secret scanners know the token in a hook's URL.
const hookPrefix = "slh_"

const hookColumns = `id, app_id, user_id, settings, previous_until, created_at, updated_at`

func hookDest(h *build.Hook, settings *string) []any {
	return []any{&h.ID, &h.App, &h.User, settings, instant{&h.PreviousUntil}, instant{&h.CreatedAt}, instant{&h.UpdatedAt}}
}

func (s hookSettings) into(h *build.Hook) {
	h.Repository, h.Branches, h.Tags, h.Paths, h.Submodules = s.Repository, s.Branches, s.Tags, s.Paths, s.Submodules
}

func settingsOfHook(h build.Hook) string {
	return build.JSON(hookSettings{h.Repository, h.Branches, h.Tags, h.Paths, h.Submodules})
}

func scanHook(r row) (h build.Hook, err error) {
	var text string
	if err = r.Scan(hookDest(&h, &text)...); err != nil {
		return h, err
	}
	var s hookSettings
	err = json.Unmarshal([]byte(text), &s)
	s.into(&h)
	return h, err
}

// newHookToken is what makes the URL of a hook unguessable, and what is kept of it.
func newHookToken() (text string, hash []byte) {
	var random [32]byte
	rand.Read(random[:])
	text = hookPrefix + base.EncodeToString(random[:])
	sum := sha256.Sum256([]byte(text))
	return text, sum[:]
}

func (s *Store) sealHook(h build.Hook, v hookSecrets) ([]byte, error) {
	return s.box.Seal(boundTo(h.App, secretHook, string(h.ID)), []byte(build.JSON(v)))
}

// openedSecrets are sealed secrets that were opened, by the SHA-256 of what they were sealed as: a hook is asked for its
// secrets many times a second, and opening takes longer than all else.
type openedSecrets struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]hookSecrets
}

// maxOpened bounds them; beyond, all are forgotten.
const maxOpened = 1000

func (o *openedSecrets) find(key [sha256.Size]byte) (v hookSecrets, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok = o.all[key]
	return v, ok
}

func (o *openedSecrets) keep(key [sha256.Size]byte, v hookSecrets) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil || len(o.all) >= maxOpened {
		o.all = map[[sha256.Size]byte]hookSecrets{}
	}
	o.all[key] = v
}

func (s *Store) openHook(h build.Hook, sealed []byte) (v hookSecrets, err error) {
	key := sha256.Sum256(append([]byte(h.App+h.ID), sealed...)) // another hook's do not open
	if v, ok := s.opened.find(key); ok {
		return v, nil
	}
	plain, err := s.box.Open(boundTo(h.App, secretHook, string(h.ID)), sealed)
	if err == nil {
		err = json.Unmarshal(plain, &v)
	}
	if err != nil {
		return v, fmt.Errorf("secrets of hook %s: %w", h.ID, err)
	}
	s.opened.keep(key, v)
	return v, nil
}

// CreateHook records a hook with its secret; ID and times are set here. The token of its URL comes back and is kept
// nowhere: the database has its SHA-256. ErrConflict tells that the app has too many.
func (s *Store) CreateHook(ctx context.Context, h build.Hook, secret string) (made build.Hook, token string, err error) {
	h.ID, h.CreatedAt = build.NewID(), s.now().UTC().Truncate(time.Microsecond)
	h.UpdatedAt = h.CreatedAt
	token, hash := newHookToken()
	sealed, err := s.sealHook(h, hookSecrets{Current: secret})
	if err != nil {
		return h, "", err
	}
	err = s.change(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM hooks WHERE app_id = apps.id) FROM apps WHERE id = ?`, h.App).Scan(&n); err != nil {
			return wrap(err)
		}
		if n >= build.MaxHooks {
			return fmt.Errorf("an app has at most %d hooks: %w", build.MaxHooks, build.ErrConflict)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO hooks (id, app_id, user_id, hash, secrets, settings, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			h.ID, h.App, h.User, hash, sealed, settingsOfHook(h), micros(h.CreatedAt), micros(h.UpdatedAt))
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return h, "", fmt.Errorf("create hook: %w", err)
	}
	return h, token, nil
}

// Hooks lists the hooks of an app, the oldest first.
func (s *Store) Hooks(ctx context.Context, app build.ID) ([]build.Hook, error) {
	return collect(ctx, s.r, scanHook, `SELECT `+hookColumns+` FROM hooks WHERE app_id = ? ORDER BY id`, app)
}

// Hook finds a hook of an app by id.
func (s *Store) Hook(ctx context.Context, app build.ID, id string) (build.Hook, error) {
	h, err := scanHook(s.r.QueryRowContext(ctx, `SELECT `+hookColumns+` FROM hooks WHERE id = ? AND app_id = ?`, id, app))
	if err != nil {
		return h, fmt.Errorf("hook %.80q: %w", id, wrap(err))
	}
	return h, nil
}

const hookOfToken = `SELECT ` + hookColumns + `, secrets FROM hooks WHERE hash = ?`

// OpenHook finds the hook that a token is of, with its app and the secrets that are good: the one there is, and where it
// was changed a while ago the one before it. Whatever is wrong with a token is ErrNotFound.
func (s *Store) OpenHook(ctx context.Context, token string) (h build.Hook, app build.App, secrets []string, err error) {
	hash := sha256.Sum256([]byte(token))
	var text string
	var sealed []byte
	err = s.reads[hookOfToken].QueryRowContext(ctx, hash[:]).Scan(append(hookDest(&h, &text), &sealed)...)
	if err != nil {
		return h, app, nil, fmt.Errorf("hook: %w", wrap(err))
	}
	var settings hookSettings
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		return h, app, nil, fmt.Errorf("settings of hook %s: %w", h.ID, err)
	}
	settings.into(&h)
	v, err := s.openHook(h, sealed)
	if err != nil {
		return h, app, nil, err
	}
	secrets = []string{v.Current}
	if s.now().Before(h.PreviousUntil) {
		secrets = append(secrets, v.Previous)
	}
	app, err = s.AppByID(ctx, h.App)
	return h, app, secrets, err
}

// UpdateHook changes a hook's settings by f, in one transaction.
func (s *Store) UpdateHook(ctx context.Context, app, id build.ID, f func(*build.Hook) error) (h build.Hook, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if h, err = scanHook(tx.QueryRowContext(ctx, `SELECT `+hookColumns+` FROM hooks WHERE id = ? AND app_id = ?`, id, app)); err != nil {
			return wrap(err)
		}
		if err := f(&h); err != nil {
			return err
		}
		h.UpdatedAt = s.now().UTC()
		if _, err := tx.ExecContext(ctx, `UPDATE hooks SET settings = ?, updated_at = ? WHERE id = ?`, settingsOfHook(h), micros(h.UpdatedAt), id); err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return h, fmt.Errorf("change hook: %w", err)
	}
	return h, nil
}

// RotateHook gives a hook another secret; the one before is taken too for keep. With newURL it gets another token, which
// comes back, and the old one ends at once.
func (s *Store) RotateHook(ctx context.Context, app, id build.ID, secret string, keep time.Duration, newURL bool) (h build.Hook, token string, err error) {
	var hash []byte
	if newURL {
		token, hash = newHookToken()
	}
	err = s.change(ctx, func(tx *sql.Tx) error {
		if h, err = scanHook(tx.QueryRowContext(ctx, `SELECT `+hookColumns+` FROM hooks WHERE id = ? AND app_id = ?`, id, app)); err != nil {
			return wrap(err)
		}
		var sealed []byte
		if err := tx.QueryRowContext(ctx, `SELECT secrets FROM hooks WHERE id = ?`, id).Scan(&sealed); err != nil {
			return wrap(err)
		}
		before, err := s.openHook(h, sealed)
		if err != nil {
			return err
		}
		now := s.now().UTC()
		after := hookSecrets{Current: secret}
		if h.UpdatedAt, h.PreviousUntil = now, (time.Time{}); keep > 0 {
			after.Previous, h.PreviousUntil = before.Current, now.Add(keep)
		}
		if sealed, err = s.sealHook(h, after); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE hooks SET secrets = ?, previous_until = ?, updated_at = ?, hash = coalesce(?, hash) WHERE id = ?`,
			sealed, micros(h.PreviousUntil), micros(now), hash, id)
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return h, "", fmt.Errorf("rotate hook: %w", err)
	}
	return h, token, nil
}

// DeleteHook removes a hook with its journal. Builds that it made stay.
func (s *Store) DeleteHook(ctx context.Context, app, id build.ID) error {
	n, err := s.exec(ctx, `DELETE FROM hooks WHERE id = ? AND app_id = ?`, id, app)
	if err == nil && n == 0 {
		err = build.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete hook: %w", err)
	}
	return nil
}
