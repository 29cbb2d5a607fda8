package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"
	"time"

	"github.com/olareg/olareg/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/internal/killpoint"
)

// Collected is what GC has deleted.
type Collected struct {
	Manifests, Blobs int
	Bytes            int64 // of blobs that no other repository has mounted
}

// GC deletes manifests that have no tag and that keep does not want, and then blobs that nothing needs. A manifest stays
// as well if one that stays lists it or is its subject. What is younger than the grace time, or was asked for by HEAD
// since, stays in any case: so a push in progress loses nothing, and a manifest that was pushed by digest can wait for
// its tag that long. Each repository is locked for as long as its collection takes. keep must not call the Registry.
func (r *Registry) GC(ctx context.Context, keep func(repo, digest string) bool) (Collected, error) {
	var all Collected
	r.expire()
	names, err := r.Repositories(ctx)
	if err != nil {
		return all, fmt.Errorf("collect garbage: %w", err)
	}
	var errs []error
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		c, err := r.repository(name).collect(ctx, keep)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // deleted meanwhile
			errs = append(errs, fmt.Errorf("collect garbage of %s: %w", name, err))
		}
		all.Manifests, all.Blobs, all.Bytes = all.Manifests+c.Manifests, all.Blobs+c.Blobs, all.Bytes+c.Bytes
	}
	return all, errors.Join(errs...)
}

func (rp *repository) collect(ctx context.Context, keep func(repo, digest string) bool) (Collected, error) {
	rp.commit.Lock()
	defer rp.commit.Unlock()
	rp.mu.Lock()
	defer rp.mu.Unlock()
	m, err := rp.mark(keep)
	if err != nil {
		return Collected{}, err
	}
	n, err := rp.dropManifests(ctx, m)
	if err != nil {
		return Collected{Manifests: n}, err
	}
	killpoint.Here(killpoint.ManifestsDropped)
	c, err := rp.sweep(m)
	c.Manifests = n
	return c, err
}

// marks is what GC knows of a repository.
type marks struct {
	known map[digest.Digest]contents // every manifest that the index leads to
	lists map[digest.Digest]digest.Digest
	live  map[digest.Digest]bool // manifests and blobs
}

// mark reads all manifests and finds those that stay, with their blobs.
func (rp *repository) mark(keep func(repo, digest string) bool) (marks, error) {
	m := marks{known: map[digest.Digest]contents{}, lists: map[digest.Digest]digest.Digest{}, live: map[digest.Digest]bool{}}
	index, err := rp.readIndex(indexFile)
	if err != nil {
		return m, err
	}
	var roots, unvisited []digest.Digest
	for _, d := range index.Manifests {
		if subject := d.Annotations[types.AnnotReferrerSubject]; subject != "" {
			m.lists[d.Digest] = digest.Digest(subject)
		} else if d.Annotations[types.AnnotRefName] != "" {
			roots = append(roots, d.Digest)
		}
		unvisited = append(unvisited, d.Digest)
	}
	for len(unvisited) > 0 {
		d := unvisited[len(unvisited)-1]
		unvisited = unvisited[:len(unvisited)-1]
		if _, seen := m.known[d]; seen || d.Validate() != nil {
			continue
		}
		c, young, err := rp.readManifest(d)
		if err != nil {
			return m, err
		}
		m.known[d] = c
		unvisited = append(unvisited, c.children()...)
		if _, list := m.lists[d]; !list && (young || keep(rp.name, string(d))) {
			roots = append(roots, d)
		}
	}
	m.spread(roots)
	return m, nil
}

// readManifest reads what a manifest names. An index may list anything: what is no manifest names nothing. An error of
// the disk's is one, since the blobs of a manifest that cannot be read are not garbage.
func (rp *repository) readManifest(d digest.Digest) (c contents, young bool, err error) {
	info, err := rp.r.root.Lstat(rp.blob(d))
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	young = time.Since(info.ModTime()) < rp.r.grace
	if info.Size() > rp.r.limits.Manifest {
		return c, young, nil
	}
	text, err := rp.r.root.ReadFile(rp.blob(d))
	if err != nil {
		return c, young, err
	}
	if json.Unmarshal(text, &c) != nil {
		c = contents{}
	}
	return c, young, nil
}

// spread makes live what the roots need, and what refers to a live manifest as its subject.
func (m marks) spread(roots []digest.Digest) {
	referring := map[digest.Digest][]digest.Digest{}
	for d, c := range m.known {
		if c.Subject != nil {
			referring[c.Subject.Digest] = append(referring[c.Subject.Digest], d)
		}
	}
	for len(roots) > 0 {
		d := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		if m.live[d] {
			continue
		}
		m.live[d] = true
		c := m.known[d]
		roots = append(append(roots, c.children()...), referring[d]...)
		for _, b := range c.blobs() {
			// A blob that is a manifest as well is not followed, and need not be.
			if _, manifest := m.known[b]; !manifest {
				m.live[b] = true
			} else {
				roots = append(roots, b)
			}
		}
	}
}

// dropManifests takes what is not live out of the index, and then the lists of referrers that have nobody left; those
// that stay are live from then on.
func (rp *repository) dropManifests(ctx context.Context, m marks) (int, error) {
	n := 0
	for d := range m.known {
		if _, list := m.lists[d]; list || m.live[d] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return n, errors.Join(err, rp.sealReferrers(), rp.saveIndex())
		}
		switch a := rp.change(rp.request(ctx, http.MethodDelete, target{manifests, rp.name, string(d)})); a.status {
		case http.StatusAccepted:
			n++
		case http.StatusNotFound: // it was only listed
		default:
			return n, errors.Join(a.failure(), rp.sealReferrers(), rp.saveIndex())
		}
	}
	index, err := rp.readIndex(indexFile)
	if err != nil {
		return n, err
	}
	for _, d := range index.Manifests {
		subject := digest.Digest(d.Annotations[types.AnnotReferrerSubject])
		if subject == "" || d.Digest.Validate() != nil {
			continue
		}
		list, _, err := rp.readManifest(d.Digest)
		if err != nil {
			return n, err
		}
		needed := m.live[subject]
		for _, child := range list.children() {
			needed = needed || m.live[child]
		}
		if needed {
			m.live[d.Digest] = true
		} else if a := rp.change(rp.request(ctx, http.MethodDelete, target{manifests, rp.name, string(d.Digest)})); a.status != http.StatusAccepted {
			return n, a.failure()
		}
	}
	return n, errors.Join(rp.sealReferrers(), rp.saveIndex())
}

// sweep deletes blobs that are neither live nor young, and what is not sealed: since commit is held, it was never
// acknowledged and nobody is about to.
func (rp *repository) sweep(m marks) (c Collected, err error) {
	for d, info := range rp.blobs() {
		open := info.Mode().Perm() != sealed
		if m.live[d] || !open && time.Since(info.ModTime()) < rp.r.grace {
			continue
		}
		if err := rp.r.root.Remove(rp.blob(d)); err != nil {
			return c, err
		}
		if open {
			continue
		}
		c.Blobs++
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Nlink == 1 {
			c.Bytes += info.Size()
		}
	}
	return c, nil
}

// Usage is what the registry holds.
type Usage struct {
	Repositories, Blobs int
	Bytes               int64 // of blobs, each counted once however many repositories have mounted it
	Uploads             int   // that are not finished
}

// Usage counts. It locks nothing, and takes a stat for each blob.
func (r *Registry) Usage(ctx context.Context) (Usage, error) {
	r.mu.Lock()
	u := Usage{Uploads: len(r.uploads)}
	r.mu.Unlock()
	names, err := r.Repositories(ctx)
	if err != nil {
		return u, fmt.Errorf("count usage: %w", err)
	}
	u.Repositories = len(names)
	seen := map[uint64]bool{}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return u, fmt.Errorf("count usage: %w", err)
		}
		for _, info := range r.repository(name).blobs() {
			u.Blobs++
			stat, ok := info.Sys().(*syscall.Stat_t)
			if ok && seen[stat.Ino] {
				continue
			}
			if ok {
				seen[stat.Ino] = true
			}
			u.Bytes += info.Size()
		}
	}
	return u, nil
}
