package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// CreateSource makes a place for an archive, of an app or, without one, of an app that is to be set up.
func (c *Client) CreateSource(ctx context.Context, app string) (Source, error) {
	if app == "" {
		return result[Source](ctx, c, http.MethodPost, nil, "sources")
	}
	return result[Source](ctx, c, http.MethodPost, nil, "apps", app, "sources")
}

// Upload puts an archive of size bytes into its place. sent hears how many of them went out, from another goroutine;
// nil: nobody. It is tried once: the place takes one archive.
func (c *Client) Upload(ctx context.Context, s Source, r io.Reader, size int64, sent func(int64)) (up Uploaded, err error) {
	u, err := url.Parse(s.Blob.PutURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return up, fmt.Errorf("service %s: it gave no URL to upload to", c.base)
	}
	if c.base.Scheme == "https" && u.Scheme != "https" {
		return up, fmt.Errorf("service %s: it wants the source to be sent to %s by plain http: its public URL is configured wrongly", c.base, u.Host)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), &counted{r: r, sent: sent})
	if err != nil {
		return up, err
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", accept)
	res, err := c.http.Do(req)
	if err != nil {
		return up, c.broken(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return up, c.refused(res)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxRefuse)).Decode(&up); err != nil {
		return up, fmt.Errorf("service %s: its answer to an upload is not what this slipway understands: %w", c.base, err)
	}
	return up, nil
}

// counted tells how much was read of it.
type counted struct {
	r    io.Reader
	n    int64
	sent func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.n += int64(n); n > 0 && c.sent != nil {
		c.sent(c.n)
	}
	return n, err
}
