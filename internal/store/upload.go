package store

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// An Upload is a place where a user may put a source, once, until it expires. Source is its key in the source store
// when it was put.
type Upload struct {
	ID        build.ID
	User      build.ID
	Source    string
	Checksum  string // "SHA256:<hex>"
	Size      int64
	CreatedAt time.Time
	ExpiresAt time.Time
}

const uploadColumns = `id, user_id, source, checksum, size, created_at, expires_at`

func scanUpload(r row) (u Upload, err error) {
	err = r.Scan(&u.ID, &u.User, &u.Source, &u.Checksum, &u.Size, instant{&u.CreatedAt}, instant{&u.ExpiresAt})
	return u, err
}

// CreateUpload makes a place for a source of a user.
func (s *Store) CreateUpload(ctx context.Context, user build.ID, life time.Duration) (Upload, error) {
	now := s.now().UTC()
	u := Upload{ID: build.NewID(), User: user, CreatedAt: now, ExpiresAt: now.Add(life)}
	_, err := s.exec(ctx, `INSERT INTO uploads (id, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)`, u.ID, u.User, micros(u.CreatedAt), micros(u.ExpiresAt))
	return u, err
}

// Upload finds an upload that has not expired.
func (s *Store) Upload(ctx context.Context, id build.ID) (Upload, error) {
	u, err := scanUpload(s.r.QueryRowContext(ctx, `SELECT `+uploadColumns+` FROM uploads WHERE id = ? AND expires_at > ?`, id, micros(s.now())))
	if err != nil {
		return u, fmt.Errorf("source: %w", wrap(err))
	}
	return u, nil
}

// FillUpload records what was put. ErrConflict tells that something was put before.
func (s *Store) FillUpload(ctx context.Context, id build.ID, source, checksum string, size int64) error {
	n, err := s.exec(ctx, `UPDATE uploads SET source = ?, checksum = ?, size = ? WHERE id = ? AND source = ''`, source, checksum, size, id)
	if err == nil && n == 0 {
		err = fmt.Errorf("source: %w: it was put already", build.ErrConflict)
	}
	return err
}

// KeptSources are the keys of sources that an upload, a setup that has not ended, or a build that has not ended, or ended
// less than keep ago, still names. Expired uploads are forgotten.
func (s *Store) KeptSources(ctx context.Context, keep time.Duration) (map[string]bool, error) {
	now := s.now()
	if _, err := s.exec(ctx, `DELETE FROM uploads WHERE expires_at <= ?`, micros(now)); err != nil {
		return nil, err
	}
	keys, err := collect(ctx, s.r, func(r row) (k string, err error) { return k, r.Scan(&k) },
		`SELECT source FROM uploads WHERE source <> ''
		 UNION SELECT json_extract(record, '$.source.stored') FROM setups WHERE ended_at = 0 AND json_extract(record, '$.source.stored') <> ''
		 UNION SELECT json_extract(source, '$.stored') FROM builds WHERE json_extract(source, '$.stored') <> '' AND (ended_at = 0 OR ended_at > ?)`, micros(now.Add(-keep)))
	if err != nil {
		return nil, err
	}
	set := make(map[string]bool, len(keys))
	for _, k := range keys {
		set[k] = true
	}
	return set, nil
}
