// Package store is the record and the queue of the build service, in SQLite: one file, one writer, every commit on
// disk before it returns. What it says is the truth; everything else (logs, images, refs) is redone from it after a
// crash. Methods that serve a user take the Actor and find only what that actor may see; the service's own have none.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/secret"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A Store is safe for concurrent use. Reads do not wait for the writer.
type Store struct {
	w, r *sql.DB // w has one connection
	box  *secret.Box
	now  func() time.Time

	group  group                // of deliveries that are recorded together
	often  map[string]*sql.Stmt // of the writer, by their text
	reads  map[string]*sql.Stmt // of the readers
	opened openedSecrets

	posted atomic.Bool   // something was put into the outbox
	mail   chan struct{} // and is there to be sent

	deployed atomic.Bool // something is to be deployed
	deploys  chan struct{}
}

// Open opens the database in a file, made if it is not there, and brings its tables up to date. Secrets are sealed
// with box.
func Open(ctx context.Context, file string, box *secret.Box) (*Store, error) {
	open := func(extra string, conns int) (*sql.DB, error) {
		// FULL: a transaction is on disk when Commit returns, in WAL mode too.
		dsn := "file:" + (&url.URL{Path: file}).EscapedPath() +
			"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=temp_store(MEMORY)" + extra
		db, err := sql.Open("sqlite", dsn)
		if err == nil {
			db.SetMaxOpenConns(conns)
			db.SetMaxIdleConns(conns)
			err = db.PingContext(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("open database %s: %w", file, err)
		}
		return db, nil
	}
	w, err := open("&_txlock=immediate", 1)
	if err != nil {
		return nil, err
	}
	s := &Store{w: w, box: box, now: time.Now, often: map[string]*sql.Stmt{}, reads: map[string]*sql.Stmt{}, mail: make(chan struct{}, 1), deploys: make(chan struct{}, 1)}
	if err := s.migrate(ctx, file); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	for _, query := range often() {
		if s.often[query], err = w.PrepareContext(ctx, query); err != nil {
			return nil, errors.Join(fmt.Errorf("open database %s: %w", file, err), w.Close())
		}
	}
	if s.r, err = open("&_pragma=query_only(1)", 4); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	for _, query := range []string{hookOfToken, appOfID} {
		if s.reads[query], err = s.r.PrepareContext(ctx, query); err != nil {
			return nil, errors.Join(fmt.Errorf("open database %s: %w", file, err), s.Close())
		}
	}
	return s, nil
}

func (s *Store) migrate(ctx context.Context, file string) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.w, dir, goose.WithDisableGlobalRegistry(true), goose.WithGoMigrations(s.sealQueries()))
	if err != nil {
		return err
	}
	done, err := p.Up(ctx)
	if err == nil && len(done) > 0 {
		_, err = s.w.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`) // which has what was there before
	}
	if err != nil {
		return fmt.Errorf("bring database %s up to date: %w", file, err)
	}
	return nil
}

// Close waits for what is going on.
func (s *Store) Close() error { return errors.Join(s.r.Close(), s.w.Close()) }

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var n int
	return s.r.QueryRowContext(ctx, `SELECT count(*) FROM meta`).Scan(&n)
}

// Backup writes a copy of the database, as it stands at one moment, to a file that must not be there.
func (s *Store) Backup(ctx context.Context, file string) error {
	if _, err := s.w.ExecContext(ctx, `VACUUM INTO ?`, file); err != nil {
		return fmt.Errorf("copy the database to %s: %w", file, err)
	}
	return nil
}

// change runs f in one transaction. When f fails nothing happened.
func (s *Store) change(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.w.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	s.delivered()
	return nil
}

// exec runs one statement in a transaction of its own and says how many rows it changed.
func (s *Store) exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := s.w.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, wrap(err)
	}
	return r.RowsAffected()
}

// wrap turns the database's conditions into build's.
func wrap(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return build.ErrNotFound
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return fmt.Errorf("%w: it is there already", build.ErrConflict)
		case sqlite3.SQLITE_FULL:
			return fmt.Errorf("database: the disk is full: %w", err)
		}
	}
	return fmt.Errorf("database: %w", err)
}

// micros is a time as the tables have it.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// instant scans a time that micros made.
type instant struct{ t *time.Time }

// Scan is database/sql's.
func (i instant) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a time is %T", v)
	}
	*i.t = time.Time{}
	if n != 0 {
		*i.t = time.UnixMicro(n).UTC()
	}
	return nil
}

// row is *sql.Row or *sql.Rows.
type row interface{ Scan(dest ...any) error }

// querier is the database, or a transaction on it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, q querier, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, wrap(err)
	}
	defer rows.Close()
	all := []T{}
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, wrap(err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		return nil, wrap(err)
	}
	return all, nil
}

// A Page is a part of a list that is ordered by a number which grows: a build's or a release's.
type Page struct {
	From, To int64 // inclusive; 0 means open
	Max      int   // at most so many; at least 1
	Desc     bool  // the greatest first
}

func (p Page) where(column string) (string, []any) {
	to := p.To
	if to == 0 {
		to = 1<<63 - 1
	}
	order := " ASC"
	if p.Desc {
		order = " DESC"
	}
	return column + " BETWEEN ? AND ? ORDER BY " + column + order + " LIMIT ?", []any{p.From, to, max(p.Max, 1)}
}
