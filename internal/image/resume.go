package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A resumer goes on with an upload whose connection was lost in the middle of a blob: it asks the registry how much of
// it has arrived (distribution, "Pushing a blob in chunks") and sends the rest. Where the registry does not say, or
// wants something else first, the error stands, and the blob is sent anew: Docker's own registry drops an upload whose
// length is not what it was when it last gave out its address.
type resumer struct {
	base http.RoundTripper
	wait time.Duration // before the first question; then longer
}

const (
	// maxIdleResumes is how often an upload is resumed without having got on.
	maxIdleResumes = 3
	// resumeWait is as long as a registry needs to see that a connection was cut; 16 times that, to start anew.
	resumeWait = 100 * time.Millisecond
)

// RoundTrip implements http.RoundTripper.
func (t *resumer) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(r)
	if err == nil || r.Method != http.MethodPatch || r.GetBody == nil || r.ContentLength <= 0 || r.Header.Get("Content-Range") != "" {
		return resp, err
	}
	at, where := int64(-1), r.URL
	for idle := 0; idle < maxIdleResumes; {
		if refused, ok := errors.AsType[*realmError](err); ok {
			return nil, refused
		}
		if !t.pause(r.Context(), idle) {
			return nil, err
		}
		got, next, serr := t.arrived(r, where)
		if serr != nil {
			if !transient(serr) {
				return nil, err
			}
			idle++
			continue
		}
		if idle++; got > at {
			at, idle = got, 1
		}
		where = next
		if resp, err = t.rest(r, where, got); err == nil && resp.StatusCode/100 != 2 {
			resp.Body.Close()
			return nil, fmt.Errorf("upload resumed at byte %d: the registry answers %s: %w", got, resp.Status, io.ErrUnexpectedEOF)
		}
		if err == nil {
			return resp, nil
		}
	}
	return nil, err
}

// pause gives the registry time to notice that the connection is gone. False: there is no more time.
func (t *resumer) pause(ctx context.Context, idle int) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(t.wait << (2 * idle)):
		return true
	}
}

// arrived asks how many bytes of the upload the registry has, and where it wants the next ones.
func (t *resumer) arrived(r *http.Request, where *url.URL) (int64, *url.URL, error) {
	ask := r.Clone(r.Context())
	ask.Method, ask.URL, ask.Body, ask.GetBody, ask.ContentLength = http.MethodGet, where, nil, nil, 0
	ask.Header.Del("Content-Type")
	resp, err := t.base.RoundTrip(ask)
	if err != nil {
		return 0, nil, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return 0, nil, fmt.Errorf("the registry does not know the upload: %s", resp.Status)
	}
	got, err := parseRange(resp.Header.Get("Range"))
	if err != nil || got >= r.ContentLength {
		return 0, nil, fmt.Errorf("the registry has bytes %.40q of %d", resp.Header.Get("Range"), r.ContentLength)
	}
	if resp.Header.Get("Location") == "" {
		return got, where, nil
	}
	next, err := where.Parse(resp.Header.Get("Location"))
	if err != nil || next.Scheme != where.Scheme || next.Host != where.Host {
		return 0, nil, errors.New("the registry moves the upload to another host")
	}
	return got, next, nil
}

// parseRange reads how many bytes "0-<last>" or "bytes=0-<last>" is. Registries say "0-0" of an empty upload, too.
func parseRange(s string) (int64, error) {
	last, ok := strings.CutPrefix(strings.TrimPrefix(s, "bytes="), "0-")
	n, err := strconv.ParseUint(last, 10, 62)
	if !ok || err != nil {
		return 0, fmt.Errorf("range %.40q: want 0-<last>", s)
	}
	if n == 0 {
		return 0, nil
	}
	return int64(n) + 1, nil
}

// rest sends what stands from byte at on.
func (t *resumer) rest(r *http.Request, where *url.URL, at int64) (*http.Response, error) {
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, body, at); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	again := r.Clone(r.Context())
	again.URL, again.Body, again.GetBody, again.ContentLength = where, body, nil, r.ContentLength-at
	again.Header.Set("Content-Range", fmt.Sprintf("%d-%d", at, r.ContentLength-1))
	return t.base.RoundTrip(again)
}
