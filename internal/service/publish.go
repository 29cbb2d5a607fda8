package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/killpoint"
)

// latestTag is the tag of an app's repository that names its newest release.
const latestTag = "latest"

// A Session is somebody who waits for a build and lets it through: a pushing git.
type Session struct {
	// Decide is asked when the build has succeeded, before that is recorded; a failure ends the build with it. Between its
	// return and the record nothing else of the app is recorded. It may be asked again where the record could not be made.
	Decide func(ctx context.Context, b build.Build) *build.Failure
}

// SubmitWaiting is Submit for a build whose session lives in this process. Its Trigger.Session is set.
func (s *Service) SubmitWaiting(ctx context.Context, b build.Build, session *Session) (build.Build, error) {
	b.Trigger.Session = true
	return s.submit(ctx, b, session)
}

// publishAll publishes what has no name yet; one that cannot be does not keep the others.
func (s *Service) publishAll(ctx context.Context) error {
	unfinished, err := s.store.Unfinished(ctx)
	errs := []error{err}
	for _, r := range unfinished {
		errs = append(errs, s.publish(ctx, r))
	}
	return errors.Join(errs...)
}

// publish gives a release its name, unless a newer one has it: an older build never overwrites a newer one. It can be
// done again at any time.
func (s *Service) publish(ctx context.Context, r build.Release) error {
	if r.Tagged || r.State != build.ReleaseSucceeded {
		return nil
	}
	s.naming.Lock()
	defer s.naming.Unlock()
	newest, err := s.store.Current(ctx, r.App)
	if err != nil {
		return fmt.Errorf("publish release %d: %w", r.Version, err)
	}
	if newest.Version == r.Version {
		credentials, err := s.Credentials(ctx, r.App)
		if err == nil {
			err = s.tags.Tag(ctx, credentials, r.Repository, latestTag, r.Digest)
		}
		if err != nil {
			return fmt.Errorf("publish release %d of %s: %w", r.Version, r.Repository, err)
		}
		killpoint.Here(killpoint.TagMoved)
	}
	err = s.store.Tagged(ctx, r.ID)
	killpoint.Here(killpoint.TagRecorded)
	return err
}

// ErrNoImage tells that the image of a release is not there any more.
var ErrNoImage = errors.New("its image is not there any more")

// find makes sure that a release has its image still, as far as can be told now: one whose registry is away has it.
func (s *Service) find(ctx context.Context, r build.Release) error {
	credentials, err := s.Credentials(ctx, r.App)
	if err != nil {
		return err
	}
	if there, err := s.tags.Has(ctx, credentials, r.Repository, r.Digest); err == nil && !there {
		return ErrNoImage
	}
	return nil
}

// Rollback makes a new release of an earlier one's image, and gives it the app's name. ErrNoImage tells that it cannot.
func (s *Service) Rollback(ctx context.Context, to build.Release, user build.ID) (build.Release, error) {
	if err := s.find(ctx, to); err != nil {
		return build.Release{}, fmt.Errorf("roll back to release %d: %w", to.Version, err)
	}
	v, err := s.store.CreateRelease(ctx, build.Release{
		App: to.App, User: user, Description: fmt.Sprintf("Rollback to v%d", to.Version), Repository: to.Repository, Digest: to.Digest,
		Processes: to.Processes, State: build.ReleaseSucceeded,
	})
	if err != nil {
		return v, fmt.Errorf("roll back to release %d: %w", to.Version, err)
	}
	killpoint.Here(killpoint.RollbackRecorded)
	if err := s.publish(ctx, v); err != nil {
		s.fault(err) // Run does it again
	}
	return v, nil
}
