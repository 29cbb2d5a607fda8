package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/work"
)

// Claim is work.Service's.
func (s *Service) Claim(ctx context.Context, worker string) (*work.Job, error) {
	b, ok, err := s.store.Claim(ctx, worker, s.config.Lease)
	if err != nil || !ok {
		return nil, err
	}
	killpoint.Here(killpoint.Claimed)
	j, secrets, err := s.job(ctx, b)
	if err == nil {
		err = s.begin(b, j.Limits.Log, secrets)
	}
	killpoint.Here(killpoint.LogBegun)
	if err != nil {
		f := &build.Failure{Blame: build.BlamePlatform, Code: "platform", Reason: err.Error(), Next: "tell the operator"}
		_, _, ferr := s.store.Finish(ctx, b.ID, b.Fence, store.Outcome{State: build.Failed, Failure: f})
		b.State = build.Failed
		s.left(b, "ERROR: this is not the app's fault: "+err.Error())
		return nil, errors.Join(err, ferr)
	}
	s.changed(b)
	return j, nil
}

// job puts together what a worker needs. secrets are the values that must not be in the log.
func (s *Service) job(ctx context.Context, b build.Build) (j *work.Job, secrets []string, err error) {
	app, err := s.store.AppByID(ctx, b.App)
	if err != nil {
		return nil, nil, err
	}
	j = &work.Job{
		Claim: work.Claim{Build: b.ID, Attempt: b.Attempt, Fence: b.Fence}, App: app.Name, Number: b.Number,
		Source: b.Source, Builder: app.Builder, Buildpacks: app.Buildpacks, Limits: within(app.Limits, s.config.Limits),
		Image: s.repository(app), CacheKey: fmt.Sprintf("%s/%d", app.ID, app.CacheEpoch), NoCache: b.Trigger.NoCache,
	}
	if j.Builder == "" {
		j.Builder = s.config.Builder
	}
	if j.Source.URL, err = s.store.SourceURL(b); err != nil {
		return nil, nil, err
	}
	j.Source.Query = nil
	if last, err := s.store.Latest(ctx, app.ID); err == nil && last.Repository == j.Image {
		j.Previous = last.Repository + "@" + last.Digest
	} else if err != nil && !errors.Is(err, build.ErrNotFound) {
		return nil, nil, err
	}
	if j.Env, err = s.store.Secrets(ctx, app.ID, store.SecretVar); err != nil {
		return nil, nil, err
	}
	secrets = slices.Collect(maps.Values(j.Env))
	bindings, err := s.store.Secrets(ctx, app.ID, store.SecretBinding)
	if err != nil {
		return nil, nil, err
	}
	for name, text := range bindings {
		var files map[string]string
		if err := json.Unmarshal([]byte(text), &files); err != nil {
			return nil, nil, fmt.Errorf("binding %s of app %s: %w", name, app.Name, err)
		}
		if j.Bindings == nil {
			j.Bindings = map[string]map[string]string{}
		}
		j.Bindings[name] = files
		secrets = slices.AppendSeq(secrets, maps.Values(files))
	}
	if j.Credentials, err = s.Credentials(ctx, app.ID); err != nil {
		return nil, nil, err
	}
	if s.config.Credential != nil {
		if own := s.config.Credential(j.Image, j.Claim); own != nil {
			j.Credentials = append(j.Credentials, *own)
		}
	}
	for _, c := range j.Credentials {
		secrets = append(secrets, c.Password)
	}
	return j, secrets, nil
}

// Credentials are those of the app, and of the service where the app has none for a registry.
func (s *Service) Credentials(ctx context.Context, app build.ID) (out []work.Credential, err error) {
	all := map[string]work.Credential{}
	for _, owner := range []build.ID{"", app} {
		kept, err := s.store.Secrets(ctx, owner, store.SecretRegistry)
		if err != nil {
			return nil, err
		}
		for host, text := range kept {
			var c work.Credential
			if err := json.Unmarshal([]byte(text), &c); err != nil {
				return nil, fmt.Errorf("credentials for registry %s: %w", host, err)
			}
			c.Registry = host
			all[host] = c
		}
	}
	for _, host := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[host])
	}
	return out, nil
}

// repository is where an app's images go.
func (s *Service) repository(app build.App) string {
	if app.Image != "" {
		return app.Image
	}
	return s.config.Registry + "/" + string(app.Name)
}

// within is an app's limits, the service's where it has none, and never more than those.
func within(app, service build.Limits) build.Limits {
	return build.Limits{
		Time: lower(app.Time, service.Time), Memory: lower(app.Memory, service.Memory), CPUs: lower(app.CPUs, service.CPUs),
		PIDs: lower(app.PIDs, service.PIDs), Disk: lower(app.Disk, service.Disk), Log: lower(app.Log, service.Log), Source: lower(app.Source, service.Source),
		Cache: lower(app.Cache, service.Cache),
	}
}

// Limits are an app's, as its builds and processes have them.
func (s *Service) Limits(app build.App) build.Limits { return within(app.Limits, s.config.Limits) }

// lower takes the lower of two limits, where zero is none.
func lower[N ~int64 | ~float64](app, service N) N {
	if app <= 0 || service > 0 && service < app {
		return service
	}
	return app
}

// A build that is tried again is in the queue before its last attempt has closed the log: that is waited for, and looked
// at every closeEvery.
const (
	closeWait  = 10 * time.Second
	closeEvery = 5 * time.Millisecond
)

// begin opens the log of a claim.
func (s *Service) begin(b build.Build, limit int64, secrets []string) error {
	o := logs.Options{
		Masker: logs.NewMasker(secrets...), Limit: limit,
		Warn: func(err error) { s.fault(fmt.Errorf("log of build %s: %w", b.ID, err)) },
	}
	w, err := s.logs.Create(b.ID, o)
	for began := time.Now(); errors.Is(err, logs.ErrWriting) && time.Since(began) < closeWait; w, err = s.logs.Create(b.ID, o) {
		time.Sleep(closeEvery)
	}
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	if b.Attempt > 1 {
		fmt.Fprintf(w, "Attempt %d of %d\n", b.Attempt, build.MaxAttempts)
	}
	s.mu.Lock()
	s.running[b.ID] = &attempt{fence: b.Fence, log: w}
	s.mu.Unlock()
	return nil
}

// alive finds the log of a claim; ErrStale when it is over.
func (s *Service) alive(c work.Claim) (*attempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.running[c.Build]
	if a == nil || a.fence != c.Fence {
		return nil, fmt.Errorf("%s: %w", c, build.ErrStale)
	}
	return a, nil
}

// Heartbeat is work.Service's.
func (s *Service) Heartbeat(ctx context.Context, c work.Claim, at work.Progress) (work.Order, error) {
	b, err := s.store.Heartbeat(ctx, c.Build, c.Fence, at.Phase, at.Buildpack, s.config.Lease)
	if errors.Is(err, build.ErrNotFound) {
		err = fmt.Errorf("%s: its app is gone: %w", c, build.ErrStale)
	}
	killpoint.Here(killpoint.BeatRecorded)
	return work.Order{Cancel: b.CancelAsked, Reason: b.CancelReason}, err
}

// Log is work.Service's.
func (s *Service) Log(_ context.Context, c work.Claim, p work.Piece) (full bool, err error) {
	a, err := s.alive(c)
	if err != nil {
		return false, err
	}
	_, err = a.log.Write(p.Text)
	a.log.Skip(p.Left)
	return a.log.Full(), err
}

// Finish is work.Service's. The order is law: first a waiting push decides, then the record is made, from which all
// else can be redone, then the log ends, then names move.
func (s *Service) Finish(ctx context.Context, c work.Claim, o work.Outcome) error {
	a, err := s.alive(c)
	if err != nil {
		return err
	}
	b, err := s.store.BuildByID(ctx, c.Build)
	if err != nil {
		return err
	}
	killpoint.Here(killpoint.Deciding)
	s.mu.Lock()
	session := s.waiting[b.ID]
	s.mu.Unlock()
	if o.State == build.Succeeded && session != nil && session.Decide != nil {
		if f := session.Decide(ctx, b); f != nil {
			fmt.Fprintf(a.log, "ERROR: %s\n", f.Reason)
			o = work.Outcome{State: build.Failed, Failure: f}
		}
	}
	out := store.Outcome{State: o.State, Failure: o.Failure, Result: o.Result, Requeue: session == nil}
	if o.State == build.Succeeded {
		out.Release = release(b, o.Result)
		if s.hasCommand(o.Result.Processes) {
			out.Release.State = build.ReleasePending
		}
	}
	b, made, err := s.store.Finish(ctx, c.Build, c.Fence, out)
	if err != nil {
		return err
	}
	killpoint.Here(killpoint.Finished)
	s.mu.Lock()
	if s.running[b.ID] == a {
		delete(s.running, b.ID)
	}
	s.mu.Unlock()
	if b.State == build.Queued {
		fmt.Fprintln(a.log, "The build is tried again.")
	}
	if err := a.log.Close(b.State); err != nil {
		s.fault(fmt.Errorf("log of build %s: %w", b.ID, err))
	}
	killpoint.Here(killpoint.LogClosed)
	if made != nil {
		if err := s.publish(ctx, *made); err != nil {
			s.fault(err) // Run does it again
		}
		s.released()
	}
	s.changed(b)
	return nil
}

// release is what a build that succeeded has made of its app.
func release(b build.Build, r *build.Result) *build.Release {
	v := &build.Release{
		Description: "Deploy " + short(b), Repository: r.Repository, Digest: r.Digest, Processes: r.Processes, State: build.ReleaseSucceeded,
	}
	if b.Trigger.Session { // else the ref has moved before
		v.Ref, v.Old, v.New = b.Trigger.Ref, b.Trigger.Old, b.Trigger.New
	}
	return v
}

// short names what was built.
func short(b build.Build) string {
	for _, s := range []string{b.Source.Commit, b.Source.Version, b.Source.Checksum} {
		if s != "" {
			return s[:min(len(s), 12)]
		}
	}
	return fmt.Sprintf("build %d", b.Number)
}
