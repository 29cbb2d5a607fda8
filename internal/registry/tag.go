package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/olareg/olareg/types"
	godigest "github.com/opencontainers/go-digest"
)

// Tag makes a tag name a manifest that the repository has. Whoever pulls by the tag meanwhile gets the one or the other;
// when Tag returns the move is on the disk. ErrNotFound: the manifest, or something that it needs, is not there.
func (r *Registry) Tag(ctx context.Context, repo, tag, digest string) error {
	rp, err := r.lookup(repo)
	if err == nil {
		err = errors.Join(checkTag(tag), checkDigest(godigest.Digest(digest)))
	}
	if err == nil {
		err = rp.tag(ctx, tag, godigest.Digest(digest))
	}
	if err != nil {
		return fmt.Errorf("tag %.80s as %s:%s: %w", digest, repo, tag, err)
	}
	return nil
}

func (rp *repository) tag(ctx context.Context, tag string, d godigest.Digest) error {
	rp.commit.Lock()
	defer rp.commit.Unlock()
	rp.mu.Lock()
	defer rp.mu.Unlock()
	found := rp.do(rp.request(ctx, http.MethodGet, target{manifests, rp.name, string(d)}))
	if found.status != http.StatusOK {
		return found.failure()
	}
	// The bytes are put again, under the tag: olareg then looks whether all is there that they name, and whether they
	// are still those of the digest.
	t := target{manifests, rp.name, tag}
	req := rp.request(ctx, http.MethodPut, t)
	req.Header.Set("Content-Type", found.header.Get("Content-Type"))
	if a := rp.putBytes(req, t, d, found.body.Bytes()); a.status != http.StatusCreated {
		return a.failure()
	}
	return rp.saveIndex()
}

// Resolve is the digest of the manifest that a tag names; ErrNotFound if there is none.
func (r *Registry) Resolve(ctx context.Context, repo, tag string) (digest string, err error) {
	rp, err := r.lookup(repo)
	if err == nil {
		err = checkTag(tag)
	}
	if err != nil {
		return "", fmt.Errorf("resolve %s:%s: %w", repo, tag, err)
	}
	rp.mu.Lock()
	a := rp.do(rp.request(ctx, http.MethodHead, target{manifests, repo, tag}))
	rp.mu.Unlock()
	if a.status != http.StatusOK {
		return "", fmt.Errorf("resolve %s:%s: %w", repo, tag, a.failure())
	}
	return a.header.Get(types.HeaderDockerDigest), nil
}

// Has says whether the repository has the manifest of a digest. It makes it young to GC, as a HEAD does.
func (r *Registry) Has(ctx context.Context, repo, digest string) (bool, error) {
	d := godigest.Digest(digest)
	rp, err := r.lookup(repo)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err == nil {
		err = checkDigest(d)
	}
	if err != nil {
		return false, fmt.Errorf("look for %.80s in %s: %w", d, repo, err)
	}
	rp.mu.Lock()
	defer rp.mu.Unlock()
	a := rp.do(rp.request(ctx, http.MethodHead, target{manifests, repo, string(d)}))
	if a.status == http.StatusOK {
		return rp.touch(d), nil
	}
	if err := a.failure(); !errors.Is(err, ErrNotFound) {
		return false, fmt.Errorf("look for %.80s in %s: %w", d, repo, err)
	}
	return false, nil
}

// Tags are the repository's tags, sorted; ErrNotFound if there is no such repository.
func (r *Registry) Tags(ctx context.Context, repo string) ([]string, error) {
	rp, err := r.lookup(repo)
	if err != nil {
		return nil, fmt.Errorf("tags of %s: %w", repo, err)
	}
	rp.mu.Lock()
	a := rp.do(rp.request(ctx, http.MethodGet, target{tags, repo, ""}))
	rp.mu.Unlock()
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("tags of %s: %w", repo, a.failure())
	}
	var list types.TagList
	if err := json.Unmarshal(a.body.Bytes(), &list); err != nil {
		return nil, fmt.Errorf("tags of %s: %w", repo, err)
	}
	return list.Tags, nil
}

// Untag removes a tag; the manifest stays until GC. ErrNotFound if the tag is not there.
func (r *Registry) Untag(ctx context.Context, repo, tag string) error {
	rp, err := r.lookup(repo)
	if err == nil {
		err = checkTag(tag)
	}
	if err == nil {
		if a := rp.remove(rp.request(ctx, http.MethodDelete, target{manifests, repo, tag})); a.status != http.StatusAccepted {
			err = a.failure()
		}
	}
	if err != nil {
		return fmt.Errorf("untag %s:%s: %w", repo, tag, err)
	}
	return nil
}

// DeleteRepo deletes a repository with all that is in it, and not those whose names it begins. Uploads into it fail;
// downloads that have begun go on. It is no error if the repository is not there.
func (r *Registry) DeleteRepo(_ context.Context, repo string) error {
	rp, err := r.lookup(repo)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		err = rp.delete()
	}
	if err != nil {
		return fmt.Errorf("delete repository %s: %w", repo, err)
	}
	return nil
}

func (rp *repository) delete() error {
	rp.commit.Lock()
	defer rp.commit.Unlock()
	rp.mu.Lock()
	defer rp.mu.Unlock()
	rp.reset() // the old server remembers the index
	return rp.removeFiles()
}

// removeFiles removes all that makes up the repository, the index first: without it there is no repository, whatever a
// crash leaves of the rest. Other repositories may be in the same directory.
func (rp *repository) removeFiles() error {
	root := rp.r.root
	for _, name := range []string{indexFile, indexSafe, indexNext, layoutFile, uploadsDir, blobsDir} {
		if err := root.RemoveAll(rp.path(name)); err != nil {
			return err
		}
		if name != indexFile {
			continue
		}
		if err := rp.r.sync(rp.path()); err != nil {
			return err
		}
	}
	if entries, err := fs.ReadDir(root.FS(), rp.path()); err != nil || len(entries) > 0 {
		return err
	}
	return root.Remove(rp.path())
}
