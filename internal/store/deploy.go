package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// deploySettings is what deployers.settings holds.
type deploySettings struct {
	Command []string      `json:"command,omitempty"`
	Time    time.Duration `json:"time,omitempty"`
	Path    string        `json:"path,omitempty"`
}

const deployerColumns = `app_id, kind, settings, port, coalesce(webhook_id, ''), created_at, updated_at`

func scanDeployer(r row) (d build.Deployer, err error) {
	var text string
	if err = r.Scan(&d.App, &d.Kind, &text, &d.Port, &d.Webhook, instant{&d.CreatedAt}, instant{&d.UpdatedAt}); err != nil {
		return d, err
	}
	var s deploySettings
	if err = json.Unmarshal([]byte(text), &s); err != nil {
		return d, fmt.Errorf("deployer of app %s: %w", d.App, err)
	}
	d.Command, d.Time, d.Path = s.Command, s.Time, s.Path
	return d, nil
}

// Deployer is what happens after a release of an app; ErrNotFound where it is nothing.
func (s *Store) Deployer(ctx context.Context, app build.ID) (build.Deployer, error) {
	return deployer(ctx, s.r, app)
}

func deployer(ctx context.Context, q querier, app build.ID) (build.Deployer, error) {
	d, err := scanDeployer(q.QueryRowContext(ctx, `SELECT `+deployerColumns+` FROM deployers WHERE app_id = ?`, app))
	if err != nil {
		return d, fmt.Errorf("deployer: %w", wrap(err))
	}
	return d, nil
}

// ErrFull tells that no more apps may run on this machine.
var ErrFull = fmt.Errorf("as many apps run on this machine as may: %w", build.ErrConflict)

// PutDeployer sets what happens after the releases of an app; DeployNone takes it away. The port that a local one has stays
// for as long as it is local, and no more than local apps are. A deployment is recorded at once where it is local and
// there is a release. The webhook of a deployer that was before is deleted.
func (s *Store) PutDeployer(ctx context.Context, d build.Deployer, local int) (build.Deployer, error) {
	d.UpdatedAt = s.now().UTC().Truncate(time.Microsecond)
	err := s.change(ctx, func(tx *sql.Tx) error {
		before, err := deployer(ctx, tx, d.App)
		if err != nil && !errors.Is(err, build.ErrNotFound) {
			return err
		}
		if before.Webhook != "" && before.Webhook != d.Webhook {
			if _, err := tx.ExecContext(ctx, `DELETE FROM webhooks WHERE id = ?`, before.Webhook); err != nil {
				return wrap(err)
			}
		}
		s.deployed.Store(true)
		if d.Kind == build.DeployNone {
			_, err := tx.ExecContext(ctx, `DELETE FROM deployers WHERE app_id = ?`, d.App)
			return errors.Join(err, s.stopOthers(ctx, tx, d))
		}
		if d.Port = 0; d.Kind == build.DeployLocal {
			var others int
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM deployers WHERE kind = 'local' AND app_id <> ?`, d.App).Scan(&others); err != nil {
				return wrap(err)
			}
			if others >= local {
				return ErrFull
			}
			d.Port = before.Port
		}
		err = tx.QueryRowContext(ctx, `INSERT INTO deployers (app_id, kind, settings, port, webhook_id, created_at, updated_at) SELECT id, ?2, ?3, ?4, nullif(?5, ''), ?6, ?6 FROM apps WHERE id = ?1
			ON CONFLICT (app_id) DO UPDATE SET kind = excluded.kind, settings = excluded.settings, port = excluded.port, webhook_id = excluded.webhook_id, updated_at = excluded.updated_at
			RETURNING created_at`, d.App, d.Kind, build.JSON(deploySettings{d.Command, d.Time, d.Path}), d.Port, d.Webhook, micros(d.UpdatedAt)).Scan(instant{&d.CreatedAt})
		if err != nil {
			return wrap(err)
		}
		if err := s.stopOthers(ctx, tx, d); err != nil || d.Kind != build.DeployLocal {
			return err
		}
		_, err = s.deployCurrent(ctx, tx, d.App, build.BecauseDeployer)
		if errors.Is(err, build.ErrNotFound) {
			err = nil
		}
		return err
	})
	if err != nil {
		return d, fmt.Errorf("set the deployer: %w", err)
	}
	return d, nil
}

// stopOthers ends deployments of an app that wait and are of another kind than its deployer. What runs is ended by who runs
// it.
func (s *Store) stopOthers(ctx context.Context, tx *sql.Tx, d build.Deployer) error {
	_, err := tx.ExecContext(ctx, `UPDATE deployments SET state = 'stopped', failure = 'the app has another deployer now', updated_at = ?
		WHERE app_id = ? AND state = 'pending' AND kind <> ?`, micros(s.now()), d.App, d.Kind)
	if err != nil {
		return wrap(err)
	}
	return nil
}

// TakePort gives a local deployer without a port one for good. ErrConflict tells that another app has it.
func (s *Store) TakePort(ctx context.Context, app build.ID, port int) error {
	n, err := s.exec(ctx, `UPDATE deployers SET port = ? WHERE app_id = ? AND kind = 'local'`, port, app)
	if err == nil && n == 0 {
		err = build.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("take port %d: %w", port, err)
	}
	return nil
}

const deploymentColumns = `id, app_id, number, release_id, version, kind, reason, state, live, failure, url, restarts, event_id, created_at, updated_at`

func scanDeployment(r row) (d build.Deployment, err error) {
	err = r.Scan(&d.ID, &d.App, &d.Number, &d.Release, &d.Version, &d.Kind, &d.Reason, &d.State, &d.Live, &d.Failure, &d.URL, &d.Restarts, &d.Event,
		instant{&d.CreatedAt}, instant{&d.UpdatedAt})
	return d, err
}

// Deploy has the app's deployer deploy its current release. ErrNotFound tells that there is no deployer, or no release.
func (s *Store) Deploy(ctx context.Context, app build.ID) (d build.Deployment, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if _, err := deployer(ctx, tx, app); err != nil {
			return err
		}
		d, err = s.deployCurrent(ctx, tx, app, build.BecauseAsked)
		return err
	})
	return d, err
}

// deployCurrent records that the newest release that has succeeded is to be deployed.
func (s *Store) deployCurrent(ctx context.Context, tx *sql.Tx, app build.ID, why build.DeploymentReason) (d build.Deployment, err error) {
	v, err := scanRelease(tx.QueryRowContext(ctx, `SELECT `+releaseColumns+` FROM releases WHERE app_id = ? AND state = 'succeeded' ORDER BY version DESC LIMIT 1`, app))
	if err != nil {
		return d, fmt.Errorf("current release: %w", wrap(err))
	}
	return s.deployRelease(ctx, tx, v, why)
}

// deployRelease records that a release is to be deployed, where its app has a deployer.
func (s *Store) deployRelease(ctx context.Context, tx *sql.Tx, v build.Release, why build.DeploymentReason) (d build.Deployment, err error) {
	by, err := deployer(ctx, tx, v.App)
	if errors.Is(err, build.ErrNotFound) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	d = build.Deployment{
		ID: build.NewID(), App: v.App, Release: v.ID, Version: v.Version, Kind: by.Kind, Reason: why, State: build.DeployPending, CreatedAt: s.now().UTC(),
	}
	d.UpdatedAt = d.CreatedAt
	if err := tx.QueryRowContext(ctx, `UPDATE apps SET deployment_seq = deployment_seq + 1 WHERE id = ? RETURNING deployment_seq`, d.App).Scan(&d.Number); err != nil {
		return d, wrap(err)
	}
	if d.Kind == build.DeployWebhook {
		if err := s.tellDeployment(ctx, tx, by, &d, v); err != nil {
			return d, err
		}
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO deployments (`+deploymentColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, d.ID, d.App, d.Number, d.Release, d.Version, d.Kind, d.Reason,
		d.State, d.Live, d.Failure, d.URL, d.Restarts, d.Event, micros(d.CreatedAt), micros(d.UpdatedAt))
	if err == nil && d.Number%trimEvery == 0 {
		_, err = tx.ExecContext(ctx, `DELETE FROM deployments WHERE app_id = ? AND number <= ? AND state NOT IN ('pending', 'starting', 'running')`, d.App, d.Number-build.MaxDeployments)
	}
	if err != nil {
		return d, wrap(err)
	}
	s.deployed.Store(true)
	return d, nil
}

// tellDeployment puts a deployment into the outbox for the deployer's webhook. What becomes of that is what becomes of it.
func (s *Store) tellDeployment(ctx context.Context, tx *sql.Tx, by build.Deployer, d *build.Deployment, v build.Release) error {
	d.State = build.DeployStarting
	w, err := s.scanWebhook(tx.QueryRowContext(ctx, `SELECT `+webhookColumns+` FROM webhooks WHERE id = ?`, by.Webhook))
	if errors.Is(err, sql.ErrNoRows) || err == nil && w.Disabled != "" {
		d.State, d.Failure = build.DeployFailed, "the deployer's webhook was deleted, or disabled: set the deployer again"
		return nil
	}
	if err != nil {
		return wrap(err)
	}
	a, err := audienceOf(ctx, tx, v.App, v.User)
	if err != nil {
		return err
	}
	e := build.Event{Include: build.IncludeDeployment, Resource: "deployment", Action: "create", Data: build.JSON(build.TellDeployment(*d, a.app, v)), Previous: "{}"}
	if err := s.insertEvent(ctx, tx, a, &e); err != nil {
		return err
	}
	d.Event = e.ID
	return s.insertMessage(ctx, tx, build.Message{
		App: v.App, Kind: build.MessageWebhook, Webhook: w.ID, Event: e.ID, Include: e.Include, Level: w.Level, Lane: string(w.ID), Host: hostOf(w.URL), Build: v.Build,
	})
}

// deploymentTold records with an attempt at a message what that means for the deployment that it tells of.
func (s *Store) deploymentTold(ctx context.Context, tx *sql.Tx, m build.Message, failure string) error {
	state := build.DeployFailed
	switch m.State {
	case build.MessageSent:
		state, failure = build.DeploySucceeded, ""
	case build.MessageWaiting:
		state = build.DeployStarting
	}
	_, err := tx.ExecContext(ctx, `UPDATE deployments SET state = ?, failure = ?, updated_at = ? WHERE event_id = ? AND event_id <> ''`, state, failure, micros(s.now()), m.Event)
	if err != nil {
		return wrap(err)
	}
	return nil
}

// Deployments lists the deployments of an app by number.
func (s *Store) Deployments(ctx context.Context, app build.ID, p Page) ([]build.Deployment, error) {
	where, args := p.where("number")
	return collect(ctx, s.r, scanDeployment, `SELECT `+deploymentColumns+` FROM deployments WHERE app_id = ? AND `+where, append([]any{app}, args...)...)
}

// Deployment finds a deployment of an app by id or number.
func (s *Store) Deployment(ctx context.Context, app build.ID, idOrNumber string) (build.Deployment, error) {
	d, err := scanDeployment(s.r.QueryRowContext(ctx, `SELECT `+deploymentColumns+` FROM deployments
		WHERE app_id = ?1 AND (id = ?2 OR number = CAST(?2 AS INTEGER) AND ?2 NOT LIKE '%-%')`, app, idOrNumber))
	if err != nil {
		return d, fmt.Errorf("deployment %.80q: %w", idOrNumber, wrap(err))
	}
	return d, nil
}

// DeploymentByID is the service's own look at a deployment.
func (s *Store) DeploymentByID(ctx context.Context, id build.ID) (build.Deployment, error) {
	d, err := scanDeployment(s.r.QueryRowContext(ctx, `SELECT `+deploymentColumns+` FROM deployments WHERE id = ?`, id))
	if err != nil {
		return d, fmt.Errorf("deployment %s: %w", id, wrap(err))
	}
	return d, nil
}

// DeploymentOf is the newest deployment of a release; ErrNotFound where there is none.
func (s *Store) DeploymentOf(ctx context.Context, release build.ID) (build.Deployment, error) {
	d, err := scanDeployment(s.r.QueryRowContext(ctx, `SELECT `+deploymentColumns+` FROM deployments WHERE release_id = ? ORDER BY number DESC LIMIT 1`, release))
	if err != nil {
		return d, fmt.Errorf("deployment: %w", wrap(err))
	}
	return d, nil
}

// LiveDeployment is what runs of an app on this machine; ErrNotFound where nothing does.
func (s *Store) LiveDeployment(ctx context.Context, app build.ID) (build.Deployment, error) {
	d, err := scanDeployment(s.r.QueryRowContext(ctx, `SELECT `+deploymentColumns+` FROM deployments
		WHERE app_id = ? AND live = 1 AND state IN ('pending', 'starting', 'running') ORDER BY number DESC LIMIT 1`, app))
	if err != nil {
		return d, fmt.Errorf("deployment: %w", wrap(err))
	}
	return d, nil
}

// OpenDeployments lists the deployments that have not ended, by app and number.
func (s *Store) OpenDeployments(ctx context.Context) ([]build.Deployment, error) {
	return collect(ctx, s.r, scanDeployment, `SELECT `+deploymentColumns+` FROM deployments WHERE state IN ('pending', 'starting', 'running') ORDER BY app_id, number`)
}

// UpdateDeployment changes a deployment by f, in one transaction. ErrNotFound tells that its app is gone.
func (s *Store) UpdateDeployment(ctx context.Context, id build.ID, f func(*build.Deployment)) (d build.Deployment, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		if d, err = scanDeployment(tx.QueryRowContext(ctx, `SELECT `+deploymentColumns+` FROM deployments WHERE id = ?`, id)); err != nil {
			return wrap(err)
		}
		f(&d)
		d.UpdatedAt = s.now().UTC()
		_, err := tx.ExecContext(ctx, `UPDATE deployments SET state = ?, live = ?, failure = ?, url = ?, restarts = ?, updated_at = ? WHERE id = ?`,
			d.State, d.Live, d.Failure, d.URL, d.Restarts, micros(d.UpdatedAt), id)
		if err != nil {
			return wrap(err)
		}
		return nil
	})
	if err != nil {
		return d, fmt.Errorf("deployment %s: %w", id, err)
	}
	return d, nil
}

// RecoverDeployments puts right what an earlier process left: a command that ran has failed, for nobody knows how far it
// came, and a process that had not answered yet is to be started again. What was live stays so.
func (s *Store) RecoverDeployments(ctx context.Context, interrupted string) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		now := micros(s.now())
		_, err := tx.ExecContext(ctx, `UPDATE deployments SET state = 'failed', failure = ?, updated_at = ? WHERE state = 'starting' AND kind = 'command'`, interrupted, now)
		if err == nil {
			_, err = tx.ExecContext(ctx, `UPDATE deployments SET state = 'pending', updated_at = ? WHERE state = 'starting' AND kind = 'local' AND live = 0`, now)
		}
		if err != nil {
			return wrap(err)
		}
		return nil
	})
}

// EndUntold fails the deployments whose webhook is not told any more, because it was deleted or disabled.
func (s *Store) EndUntold(ctx context.Context) error {
	_, err := s.exec(ctx, `UPDATE deployments SET state = 'failed', failure = 'the webhook was deleted or disabled before it had taken it', updated_at = ?
		WHERE kind = 'webhook' AND state = 'starting' AND event_id NOT IN (SELECT event_id FROM messages WHERE next_at > 0)`, micros(s.now()))
	return err
}

// Deploys has something when there is something to deploy, or not to run any more.
func (s *Store) Deploys() <-chan struct{} { return s.deploys }
