package parcel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// A Fetcher reads http(s) and file URLs with a size cap, a few retries and no more than three redirects.
type Fetcher struct {
	Client *http.Client
	Tries  int           // attempts in all; 0 is 4
	Pause  time.Duration // before the second attempt, doubled each time; 0 is one second
}

// NewFetcher makes a Fetcher that trusts the system's certificates and those that SSL_CERT_FILE and
// NODE_EXTRA_CA_CERTS of env name; a file named there that cannot be read is left out, as Node does. Certificates are
// read with the first https request: parsing them takes longer than most detects do otherwise.
func NewFetcher(env Env) Fetcher {
	trusting := sync.OnceValue(func() http.RoundTripper { return transport(trusted(env)) })
	return Fetcher{Client: &http.Client{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) { return trusting().RoundTrip(r) }),
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("more than 3 redirects")
			}
			if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
				return fmt.Errorf("redirect from https to %s", r.URL.Redacted())
			}
			return nil
		},
	}}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func transport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		ForceAttemptHTTP2:     true,
	}
}

func trusted(env Env) *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, k := range []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} {
		if pem, err := readCapped(env[k], 8<<20); err == nil {
			pool.AppendCertsFromPEM(pem)
		}
	}
	return pool
}

// Bytes reads a small document. A missing one is fs.ErrNotExist.
func (f Fetcher) Bytes(ctx context.Context, from string, max int64) ([]byte, error) {
	var b bytes.Buffer
	err := f.try(ctx, from, max, func() (io.Writer, error) { b.Reset(); return &b, nil })
	return b.Bytes(), err
}

// File writes what from names to the file dst and checks its sum. A file whose sum differs is removed.
func (f Fetcher) File(ctx context.Context, from, dst string, max int64, sum Sum) (err error) {
	if sum.new == nil {
		return fmt.Errorf("download %s: no checksum to verify it with", from)
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			err = errors.Join(err, os.Remove(dst))
		}
	}()
	var h hash.Hash
	err = f.try(ctx, from, max, func() (io.Writer, error) {
		h = sum.new()
		if _, err := out.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		return io.MultiWriter(out, h), out.Truncate(0)
	})
	if err != nil {
		return err
	}
	if got := h.Sum(nil); sum.want != nil && !bytes.Equal(got, sum.want) {
		return Ours("try again; if it stays so, the mirror or something on the way to it is altering files",
			"downloaded %s but its %s is %x, not %x", redact(from), sum.name, got, sum.want)
	}
	return nil
}

// try fetches until it works, the answer is final, or the tries are used up.
func (f Fetcher) try(ctx context.Context, from string, max int64, open func() (io.Writer, error)) error {
	tries, pause := f.Tries, f.Pause
	if tries == 0 {
		tries = 4
	}
	if pause == 0 {
		pause = time.Second
	}
	for n := 1; ; n++ {
		w, err := open()
		if err != nil {
			return err
		}
		again, err := f.once(ctx, from, max, w)
		if err == nil {
			return nil
		}
		if !again || n >= tries || ctx.Err() != nil {
			if n > 1 {
				return fmt.Errorf("%w (%d attempts)", err, n)
			}
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause << (n - 1)):
		}
	}
}

// once makes one attempt; again says that another could end better.
func (f Fetcher) once(ctx context.Context, from string, max int64, w io.Writer) (again bool, err error) {
	u, err := url.Parse(from)
	if err != nil {
		return false, fmt.Errorf("download %q: not a URL", from)
	}
	defer func() {
		if err != nil && !errors.Is(err, errTooBig) {
			err = fmt.Errorf("download %s: %w", redact(from), err)
		}
	}()
	if u.Scheme == "file" {
		file, err := os.Open(u.Path)
		if err != nil {
			return false, err
		}
		defer file.Close()
		return false, copyCapped(w, file, max, from)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return false, err
	}
	resp, err := f.Client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
			return false, err
		}
		return true, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		err := copyCapped(w, resp.Body, max, from)
		return !errors.Is(err, errTooBig), err
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
		return false, fmt.Errorf("%s: %w", resp.Status, fs.ErrNotExist)
	}
	return resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests, errors.New(resp.Status)
}

var errTooBig = errors.New("too big")

func copyCapped(w io.Writer, r io.Reader, max int64, from string) error {
	n, err := io.Copy(w, io.LimitReader(r, max+1))
	if err == nil && n > max {
		return fmt.Errorf("download %s: %w: more than %d MiB", redact(from), errTooBig, max>>20)
	}
	return err
}

func readCapped(name string, max int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, max))
}

// redact hides a password in a URL that is about to be printed.
func redact(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	return u.Redacted()
}

// A Sum is a checksum that a download must have.
type Sum struct {
	name string
	new  func() hash.Hash
	want []byte
}

// ByCaller is for a download whose checksum is of a form of its own: the caller verifies the file before
// anything else reads it.
func ByCaller() Sum { return Sum{name: "crc32", new: func() hash.Hash { return crc32.NewIEEE() }} }

// SHA256 is the sum that a SHASUMS256.txt line gives in hex.
func SHA256(hexDigest string) (Sum, error) {
	b, err := hex.DecodeString(hexDigest)
	if err != nil || len(b) != sha256.Size {
		return Sum{}, fmt.Errorf("%q is not a sha256 in hex", hexDigest)
	}
	return Sum{"sha256", sha256.New, b}, nil
}

// Integrity is the strongest sum of a subresource-integrity string as npm writes it ("sha512-…"); sha1
// alone is refused.
func Integrity(sri string) (Sum, error) {
	for part := range strings.FieldsSeq(sri) {
		if v, ok := strings.CutPrefix(part, "sha512-"); ok {
			b, err := base64.StdEncoding.DecodeString(v)
			if err == nil && len(b) == sha512.Size {
				return Sum{"sha512", sha512.New, b}, nil
			}
		}
	}
	return Sum{}, fmt.Errorf("integrity %q has no sha512", sri)
}
