package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// A changer is a transaction, as those see it who change something in it.
type changer interface {
	querier
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// What surrounds each change of a group.
const (
	savepoint = `SAVEPOINT one`
	undo      = `ROLLBACK TO one`
	release   = `RELEASE one`
)

// often is what a delivery needs to have done, all of it or most: that is compiled once and not every time.
func often() []string {
	return []string{savepoint, release, sameDelivery, sameText, cameAgain, nextDelivery, addDelivery, newestHooked, waitingOf, nextNumber, addBuild, endBuild, oneWaitsLess, listeners}
}

// compiled is a transaction of the writer, which knows some statements already.
type compiled struct {
	*sql.Tx
	often map[string]*sql.Stmt
}

// ExecContext is changer's.
func (c compiled) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if s := c.often[query]; s != nil {
		return c.StmtContext(ctx, s).ExecContext(ctx, args...)
	}
	return c.Tx.ExecContext(ctx, query, args...)
}

// QueryContext is querier's.
func (c compiled) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if s := c.often[query]; s != nil {
		return c.StmtContext(ctx, s).QueryContext(ctx, args...)
	}
	return c.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext is querier's.
func (c compiled) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if s := c.often[query]; s != nil {
		return c.StmtContext(ctx, s).QueryRowContext(ctx, args...)
	}
	return c.Tx.QueryRowContext(ctx, query, args...)
}

// maxGroup bounds how many changes one transaction has: who comes first waits for all.
const maxGroup = 128

// A group puts changes that come at the same time into one transaction, so that the disk is waited for once. Who finds
// nobody at it begins: the transaction waits for its turn, others join meanwhile, and the first of those who come later
// does the next one.
type group struct {
	mu      sync.Mutex
	waiting []*member
	leading bool
}

type member struct {
	do   func(ctx context.Context, tx changer) error
	lead chan struct{} // it is this one's turn to do the work of all who wait
	done chan error
}

// together runs do in a transaction that it may share: when do fails, nothing of it happened. It returns when that is on
// disk, also where ctx ends before: what is recorded must be known. do has no other change of the store's in it.
func (s *Store) together(ctx context.Context, do func(ctx context.Context, tx changer) error) error {
	m := &member{do: do, lead: make(chan struct{}, 1), done: make(chan error, 1)}
	g := &s.group
	g.mu.Lock()
	if g.waiting = append(g.waiting, m); !g.leading {
		g.leading = true
		m.lead <- struct{}{}
	}
	g.mu.Unlock()
	select {
	case err := <-m.done:
		return err
	case <-m.lead:
		s.leadGroup(context.WithoutCancel(ctx))
		return <-m.done
	}
}

// leadGroup does the changes of those who wait, and lets the next one lead.
func (s *Store) leadGroup(ctx context.Context) {
	tx, err := s.w.BeginTx(ctx, nil)
	g := &s.group
	g.mu.Lock()
	n := min(len(g.waiting), maxGroup)
	all := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	g.mu.Unlock()
	errs := make([]error, len(all))
	for i := range errs {
		errs[i] = errors.New("database: the transaction was not committed")
	}
	defer func() { // also where one of them panics
		g.mu.Lock()
		if g.leading = len(g.waiting) > 0; g.leading {
			g.waiting[0].lead <- struct{}{}
		}
		g.mu.Unlock()
		for i, m := range all {
			m.done <- errs[i]
		}
	}()
	if err != nil {
		fill(errs, fmt.Errorf("database: %w", err))
		return
	}
	defer tx.Rollback() // does nothing after Commit
	failed := make([]error, len(all))
	for i, m := range all {
		var broken error
		if failed[i], broken = inSavepoint(ctx, compiled{tx, s.often}, m.do); broken != nil {
			fill(errs, broken)
			return
		}
	}
	if err := tx.Commit(); err != nil {
		fill(errs, fmt.Errorf("database: %w", err))
		return
	}
	s.delivered()
	copy(errs, failed)
}

func fill(errs []error, err error) {
	for i := range errs {
		errs[i] = err
	}
}

// inSavepoint runs one change. broken tells that the transaction cannot go on.
func inSavepoint(ctx context.Context, tx changer, do func(context.Context, changer) error) (failed, broken error) {
	run := func(text string) {
		if broken == nil {
			if _, err := tx.ExecContext(ctx, text); err != nil {
				broken = wrap(errors.Join(failed, err))
			}
		}
	}
	if run(savepoint); broken != nil {
		return nil, broken
	}
	if failed = do(ctx, tx); failed != nil {
		run(undo)
	}
	run(release)
	return failed, broken
}
