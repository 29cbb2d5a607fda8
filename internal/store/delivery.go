package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/internal/build"
)

const deliveryColumns = `hook_id, number, id, forge, event, delivery, replay, ref, commit_id, before_id, result, code, reason, build_id, build_no, times, kept, received_at, last_at`

func scanDelivery(r row) (d build.Delivery, err error) {
	err = r.Scan(&d.Hook, &d.Number, &d.ID, &d.Forge, &d.Event, &d.Key, &d.Replay, &d.Ref, &d.Commit, &d.Before, &d.Result, &d.Code, &d.Reason, &d.Build, &d.BuildNumber,
		&d.Times, &d.Kept, instant{&d.ReceivedAt}, instant{&d.LastAt})
	return d, err
}

// An Arrival is a delivery that comes in: with a Build it asks for one, and without it is for the journal alone.
type Arrival struct {
	Delivery build.Delivery // Hook, Number, ID, Times and times are set here
	Build    *build.Build
}

// A Received is what became of an arrival.
type Received struct {
	build.Delivery
	Made       *build.Build // where it made one
	Superseded []build.Build
}

// What is asked and said of every delivery; what looks for something is answered by an index.
const (
	sameDelivery = `SELECT ` + deliveryColumns + ` FROM deliveries WHERE hook_id = ? AND delivery = ? AND ref = ? AND result <> 'refused'`
	sameText     = `SELECT ` + deliveryColumns + ` FROM deliveries INDEXED BY deliveries_replay WHERE hook_id = ? AND replay = ? AND ref = ? AND result <> 'refused'`
	cameAgain    = `UPDATE deliveries SET times = ?, last_at = ? WHERE hook_id = ? AND number = ?`
	nextDelivery = `UPDATE hooks SET delivery_seq = delivery_seq + 1 WHERE id = ? RETURNING delivery_seq`
	addDelivery  = `INSERT INTO deliveries (` + deliveryColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	newestHooked = `SELECT ` + buildColumns + ` FROM builds WHERE app_id = ? AND ref = ? AND trigger_kind = 'webhook' ORDER BY number DESC LIMIT 1`
)

// Receive records the arrivals of one request to a hook, and queues the builds that they ask for: all or none, and when
// it returns they are on disk. What was delivered before, and what the ref's newest build by webhook is of already,
// makes no build: it gets that one's. Requests that come at the same time share a transaction.
func (s *Store) Receive(ctx context.Context, hook build.ID, all []Arrival) (out []Received, err error) {
	err = s.together(ctx, func(ctx context.Context, tx changer) error {
		out = make([]Received, len(all))
		for i, a := range all {
			a.Delivery.Hook = hook
			if out[i], err = s.receive(ctx, tx, a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("record a delivery: %w", err)
	}
	return out, nil
}

func (s *Store) receive(ctx context.Context, tx changer, a Arrival) (r Received, err error) {
	now := s.now().UTC()
	d := a.Delivery
	d.Times, d.LastAt = 1, now
	before, found, err := deliveredBefore(ctx, tx, d)
	if err != nil {
		return r, err
	}
	if found {
		before.Times, before.LastAt = before.Times+1, now
	}
	if found && before.Build != "" { // whatever it says now
		_, err := tx.ExecContext(ctx, cameAgain, before.Times, micros(now), before.Hook, before.Number)
		if before.Result = build.DeliveryDuplicate; err != nil {
			err = wrap(err)
		}
		return Received{Delivery: before}, err
	}
	if a.Build != nil {
		if r, err = s.buildOnce(ctx, tx, *a.Build, &d); err != nil {
			return r, err
		}
	}
	if found {
		d.ID, d.Number, d.Times, d.ReceivedAt = before.ID, before.Number, before.Times, before.ReceivedAt
		err = replaceDelivery(ctx, tx, d)
	} else {
		d.ID, d.ReceivedAt = build.NewID(), now
		err = insertDelivery(ctx, tx, &d)
	}
	r.Delivery = d
	return r, err
}

// deliveredBefore finds the line of the journal that an arrival belongs to.
func deliveredBefore(ctx context.Context, tx changer, d build.Delivery) (before build.Delivery, found bool, err error) {
	if d.Result == build.DeliveryRefused {
		return before, false, nil
	}
	before, err = scanDelivery(tx.QueryRowContext(ctx, sameDelivery, d.Hook, d.Key, d.Ref))
	if errors.Is(err, sql.ErrNoRows) && d.Replay != "" {
		before, err = scanDelivery(tx.QueryRowContext(ctx, sameText, d.Hook, d.Replay, d.Ref))
	}
	if errors.Is(err, sql.ErrNoRows) {
		return before, false, nil
	}
	if err != nil {
		return before, false, wrap(err)
	}
	return before, true, nil
}

// buildOnce queues a build, unless the newest one of its ref is of the same commit.
func (s *Store) buildOnce(ctx context.Context, tx changer, b build.Build, d *build.Delivery) (r Received, err error) {
	newest, err := scanBuild(tx.QueryRowContext(ctx, newestHooked, b.App, b.Trigger.Ref))
	if err == nil && newest.Source.Commit == b.Source.Commit && newest.Source.URL == b.Source.URL {
		d.Result, d.Build, d.BuildNumber, d.Code = build.DeliveryDuplicate, newest.ID, newest.Number, "same-commit"
		d.Reason = fmt.Sprintf("build %d is of the same commit of %s, and nothing newer was delivered since", newest.Number, b.Trigger.Ref)
		return r, nil
	}
	if err = ignoreNone(err); err != nil {
		return r, wrap(err)
	}
	made, superseded, err := s.createBuild(ctx, tx, b)
	if err != nil {
		return r, err
	}
	d.Result, d.Build, d.BuildNumber, d.Code, d.Reason, d.Kept = build.DeliveryAccepted, made.ID, made.Number, "", "", ""
	return Received{Made: &made, Superseded: superseded}, nil
}

func replaceDelivery(ctx context.Context, tx changer, d build.Delivery) error {
	_, err := tx.ExecContext(ctx, `UPDATE deliveries SET result = ?, code = ?, reason = ?, build_id = ?, build_no = ?, times = ?, kept = ?, last_at = ? WHERE hook_id = ? AND number = ?`,
		d.Result, d.Code, d.Reason, d.Build, d.BuildNumber, d.Times, d.Kept, micros(d.LastAt), d.Hook, d.Number)
	if err != nil {
		return wrap(err)
	}
	return nil
}

// insertDelivery numbers a delivery, and drops the oldest ones now and then.
func insertDelivery(ctx context.Context, tx changer, d *build.Delivery) error {
	if err := tx.QueryRowContext(ctx, nextDelivery, d.Hook).Scan(&d.Number); err != nil {
		return wrap(err)
	}
	_, err := tx.ExecContext(ctx, addDelivery,
		d.Hook, d.Number, d.ID, d.Forge, d.Event, d.Key, d.Replay, d.Ref, d.Commit, d.Before, d.Result, d.Code, d.Reason, d.Build, d.BuildNumber,
		d.Times, d.Kept, micros(d.ReceivedAt), micros(d.LastAt))
	if err != nil {
		return wrap(err)
	}
	if d.Number%trimEvery != 0 {
		return nil
	}
	for query, most := range map[string]int{trimRefused: build.MaxRefused, trimOthers: build.MaxDeliveries} {
		if _, err := tx.ExecContext(ctx, query, d.Hook, most); err != nil {
			return wrap(err)
		}
	}
	return nil
}

// trimEvery is how many deliveries a journal may have too many.
const trimEvery = 32

// What is refused has a bound of its own: it comes from anybody, and must not push out what a forge has sent.
const (
	trimRefused = `DELETE FROM deliveries WHERE hook_id = ?1 AND result = 'refused' AND number <=
		(SELECT number FROM deliveries WHERE hook_id = ?1 AND result = 'refused' ORDER BY number DESC LIMIT 1 OFFSET ?2)`
	trimOthers = `DELETE FROM deliveries WHERE hook_id = ?1 AND result <> 'refused' AND number <=
		(SELECT number FROM deliveries WHERE hook_id = ?1 AND result <> 'refused' ORDER BY number DESC LIMIT 1 OFFSET ?2)`
)

// Deliveries lists the journal of a hook by number.
func (s *Store) Deliveries(ctx context.Context, hook build.ID, p Page) ([]build.Delivery, error) {
	where, args := p.where("number")
	return collect(ctx, s.r, scanDelivery, `SELECT `+deliveryColumns+` FROM deliveries WHERE hook_id = ? AND `+where, append([]any{hook}, args...)...)
}

// Delivery finds a line in the journal of a hook by id or number.
func (s *Store) Delivery(ctx context.Context, hook build.ID, idOrNumber string) (build.Delivery, error) {
	d, err := scanDelivery(s.r.QueryRowContext(ctx, `SELECT `+deliveryColumns+` FROM deliveries WHERE hook_id = ?1 AND (id = ?2 OR number = CAST(?2 AS INTEGER) AND ?2 NOT LIKE '%-%')`, hook, idOrNumber))
	if err != nil {
		return d, fmt.Errorf("delivery %.80q: %w", idOrNumber, wrap(err))
	}
	return d, nil
}
