package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/pressly/goose/v3"

	"github.com/slipway-build/slipway/internal/build"
)

// sealQueries is migration 5: builds that were recorded before queries of source URLs were sealed lose them from the
// text of their row, and can be built again as ever.
func (s *Store) sealQueries() *goose.Migration {
	return goose.NewGoMigration(5, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		type plain struct {
			id, app build.ID
			source  string
		}
		// What an update frees would otherwise keep its bytes.
		if _, err := tx.ExecContext(ctx, `PRAGMA secure_delete = ON`); err != nil {
			return wrap(err)
		}
		all, err := collect(ctx, tx, func(r row) (p plain, err error) { return p, r.Scan(&p.id, &p.app, &p.source) },
			`SELECT id, app_id, source FROM builds WHERE instr(source, '?') > 0`)
		if err != nil {
			return err
		}
		for _, p := range all {
			b := build.Build{App: p.app}
			if err := json.Unmarshal([]byte(p.source), &b.Source); err != nil {
				return fmt.Errorf("source of build %s: %w", p.id, err)
			}
			if err := s.sealQuery(&b); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `UPDATE builds SET source = ? WHERE id = ?`, build.JSON(b.Source), p.id); err != nil {
				return wrap(err)
			}
		}
		return nil
	}}, nil)
}
