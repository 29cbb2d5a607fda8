package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// What the secrets of webhooks and forges are sealed for.
const (
	secretWebhook SecretKind = "webhook"
	secretForge   SecretKind = "forge"
)

// webhookSecrets is what webhooks.sealed holds. The URL is among them: those of many services are a password.
type webhookSecrets struct {
	URL           string `json:"url"`
	Secret        string `json:"secret,omitempty"`
	Authorization string `json:"authorization,omitempty"`
}

const webhookColumns = `id, app_id, user_id, sealed, include, level, disabled, created_at, updated_at`

func (s *Store) scanWebhook(r row) (w build.Webhook, err error) {
	var sealed []byte
	var include string
	if err = r.Scan(&w.ID, &w.App, &w.User, &sealed, &include, &w.Level, &w.Disabled, instant{&w.CreatedAt}, instant{&w.UpdatedAt}); err != nil {
		return w, err
	}
	plain, err := s.box.Open(boundTo(w.App, secretWebhook, string(w.ID)), sealed)
	var v webhookSecrets
	if err == nil {
		err = json.Unmarshal(plain, &v)
	}
	if err == nil {
		err = json.Unmarshal([]byte(include), &w.Include)
	}
	if err != nil {
		return w, fmt.Errorf("webhook %s: %w", w.ID, err)
	}
	w.URL, w.Secret, w.Authorization = v.URL, v.Secret, v.Authorization
	return w, nil
}

func (s *Store) sealWebhook(w build.Webhook) ([]byte, error) {
	return s.box.Seal(boundTo(w.App, secretWebhook, string(w.ID)), []byte(build.JSON(webhookSecrets{w.URL, w.Secret, w.Authorization})))
}

// CreateWebhook records a webhook; ID and times are set here. ErrConflict tells that the app has too many.
func (s *Store) CreateWebhook(ctx context.Context, w build.Webhook) (build.Webhook, error) {
	w.ID, w.CreatedAt = build.NewID(), s.now().UTC().Truncate(time.Microsecond)
	w.UpdatedAt = w.CreatedAt
	sealed, err := s.sealWebhook(w)
	if err != nil {
		return w, err
	}
	err = s.change(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM webhooks WHERE app_id = apps.id) FROM apps WHERE id = ?`, w.App).Scan(&n); err != nil {
			return wrap(err)
		}
		if n >= build.MaxWebhooks {
			return fmt.Errorf("an app has at most %d webhooks: %w", build.MaxWebhooks, build.ErrConflict)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO webhooks (`+webhookColumns+`, host) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			w.ID, w.App, w.User, sealed, build.JSON(w.Include), w.Level, w.Disabled, micros(w.CreatedAt), micros(w.UpdatedAt), hostOf(w.URL))
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return w, fmt.Errorf("create webhook: %w", err)
	}
	return w, nil
}

// Webhooks lists the webhooks of an app, the oldest first.
func (s *Store) Webhooks(ctx context.Context, app build.ID) ([]build.Webhook, error) {
	return collect(ctx, s.r, s.scanWebhook, `SELECT `+webhookColumns+` FROM webhooks WHERE app_id = ? ORDER BY id`, app)
}

// Webhook finds a webhook of an app by id.
func (s *Store) Webhook(ctx context.Context, app build.ID, id string) (build.Webhook, error) {
	w, err := s.scanWebhook(s.r.QueryRowContext(ctx, `SELECT `+webhookColumns+` FROM webhooks WHERE id = ? AND app_id = ?`, id, app))
	if err != nil {
		return w, fmt.Errorf("webhook %.80q: %w", id, wrap(err))
	}
	return w, nil
}

// UpdateWebhook changes a webhook by f, in one transaction. What waits goes to where it is then.
func (s *Store) UpdateWebhook(ctx context.Context, app, id build.ID, f func(*build.Webhook) error) (w build.Webhook, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if w, err = s.scanWebhook(tx.QueryRowContext(ctx, `SELECT `+webhookColumns+` FROM webhooks WHERE id = ? AND app_id = ?`, id, app)); err != nil {
			return wrap(err)
		}
		if err := f(&w); err != nil {
			return err
		}
		w.UpdatedAt = s.now().UTC()
		sealed, err := s.sealWebhook(w)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE webhooks SET sealed = ?, host = ?, include = ?, level = ?, disabled = ?, updated_at = ? WHERE id = ?`,
			sealed, hostOf(w.URL), build.JSON(w.Include), w.Level, w.Disabled, micros(w.UpdatedAt), id)
		if err == nil {
			_, err = tx.ExecContext(ctx, `UPDATE messages SET host = ?, level = ? WHERE webhook_id = ? AND next_at > 0`, hostOf(w.URL), w.Level, id)
		}
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return w, fmt.Errorf("change webhook: %w", err)
	}
	return w, nil
}

// DeleteWebhook removes a webhook with its deliveries.
func (s *Store) DeleteWebhook(ctx context.Context, app, id build.ID) error {
	n, err := s.exec(ctx, `DELETE FROM webhooks WHERE id = ? AND app_id = ?`, id, app)
	if err == nil && n == 0 {
		err = build.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete webhook: %w", err)
	}
	return nil
}

// PutForge sets where the commits of an app's builds get statuses. What waits goes there too.
func (s *Store) PutForge(ctx context.Context, f build.Forge) (build.Forge, error) {
	f.UpdatedAt = s.now().UTC().Truncate(time.Microsecond)
	token, err := s.box.Seal(boundTo(f.App, secretForge, "token"), []byte(f.Token))
	if err != nil {
		return f, err
	}
	err = s.change(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `INSERT INTO forges (app_id, kind, repository, api, context, token, created_at, updated_at) SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?7 FROM apps WHERE id = ?1
			ON CONFLICT DO UPDATE SET kind = excluded.kind, repository = excluded.repository, api = excluded.api, context = excluded.context, token = excluded.token, updated_at = excluded.updated_at
			RETURNING created_at`, f.App, f.Kind, f.Repository, f.API, f.Context, token, micros(f.UpdatedAt)).Scan(instant{&f.CreatedAt})
		if err == nil {
			_, err = tx.ExecContext(ctx, `UPDATE messages SET host = ? WHERE app_id = ? AND kind = 'status' AND next_at > 0`, hostOf(f.API), f.App)
		}
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("keep the forge: %w", err)
	}
	return f, nil
}

// Forge is where the commits of an app's builds get statuses; ErrNotFound where they get none.
func (s *Store) Forge(ctx context.Context, app build.ID) (f build.Forge, err error) {
	var token []byte
	err = s.r.QueryRowContext(ctx, `SELECT app_id, kind, repository, api, context, token, created_at, updated_at FROM forges WHERE app_id = ?`, app).
		Scan(&f.App, &f.Kind, &f.Repository, &f.API, &f.Context, &token, instant{&f.CreatedAt}, instant{&f.UpdatedAt})
	if err != nil {
		return f, fmt.Errorf("forge: %w", wrap(err))
	}
	plain, err := s.box.Open(boundTo(app, secretForge, "token"), token)
	if err != nil {
		return f, fmt.Errorf("token of the forge of app %s: %w", app, err)
	}
	f.Token = string(plain)
	return f, nil
}

// DeleteForge ends the statuses of an app's commits, those that wait too.
func (s *Store) DeleteForge(ctx context.Context, app build.ID) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, `DELETE FROM forges WHERE app_id = ?`, app)
		if err != nil {
			return wrap(err)
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return wrap(sql.ErrNoRows)
		}
		_, err = tx.ExecContext(ctx, `UPDATE messages SET state = 'failed', error = 'the app has no forge any more', next_at = 0, updated_at = ? WHERE app_id = ? AND kind = 'status' AND next_at > 0`,
			micros(s.now()), app)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget the forge: %w", err)
	}
	return nil
}
