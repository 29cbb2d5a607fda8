package fetch

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// A Fetcher fetches sources. The zero values of all fields are fine; Dir is for git only. It is safe for concurrent
// use while nobody changes it.
type Fetcher struct {
	Dialer Dialer
	// Proxy names the proxy for a URL of a tarball, nil for none, as http.Transport has it. It may be at any address, and what
	// the name of another server means it finds out itself: it is for who fetches for himself. Git is fetched without.
	Proxy func(*url.URL) (*url.URL, error)
	// HTTP allows tarballs by http:// too. A redirect never leads from https to http.
	HTTP bool
	// NeedSum refuses a tarball without a checksum.
	NeedSum bool
	// CAFile is a PEM file of certificate authorities that are trusted instead of the system's.
	CAFile string
	// CA are such authorities in PEM, instead of a file of them.
	CA []byte
	// KnownHosts is a file of host keys as ssh keeps them. Without one, nothing is fetched by ssh.
	KnownHosts string
	// GitPath is the stock git binary, "" the one in PATH. Dir is a directory for repositories that live as long as a
	// fetch; what a process that was killed left there may be removed when no other runs.
	GitPath, Dir string
}

// Limits bound a fetch. A zero field is the default.
type Limits struct {
	Archive int64         // bytes that come over the wire, and on disk before they are unpacked: 512 MiB
	Bytes   int64         // bytes of all files of a git tree: 2 GiB
	Files   int           // files and directories of it: 200,000
	Time    time.Duration // of everything: 15 minutes
	Stall   time.Duration // without any byte: 30 seconds
	Memory  int64         // bytes of memory of each git: 4 GiB
}

func (l Limits) withDefaults() Limits {
	l.Archive = cmp.Or(l.Archive, 512<<20)
	l.Bytes = cmp.Or(l.Bytes, 2<<30)
	l.Files = cmp.Or(l.Files, 200_000)
	l.Time = cmp.Or(l.Time, 15*time.Minute)
	l.Stall = cmp.Or(l.Stall, 30*time.Second)
	l.Memory = cmp.Or(l.Memory, 4<<30)
	return l
}

func (l Limits) tooLarge(url string) error {
	return &LimitError{url, fmt.Sprintf("more than %d bytes come, the limit", l.Archive)}
}

func (l Limits) tooSlow(url string) error {
	return &LimitError{url, fmt.Sprintf("it was not done after %s, the limit", l.Time)}
}

func (l Limits) stalled(url string) error {
	return &LimitError{url, fmt.Sprintf("nothing came for %s", l.Stall)}
}

// roots are the certificate authorities; nil means the system's.
func (f *Fetcher) roots() (*x509.CertPool, error) {
	if f.CAFile == "" && len(f.CA) == 0 {
		return nil, nil
	}
	b := f.CA
	if f.CAFile != "" {
		var err error
		if b, err = os.ReadFile(f.CAFile); err != nil {
			return nil, fmt.Errorf("read certificate authorities: %w", err)
		}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read certificate authorities: %s has no certificate", cmp.Or(f.CAFile, "what is given"))
	}
	return pool, nil
}

// A failure is an error of another program or of a server, with its text made safe. Only conditions that callers ask
// for are wrapped in it: the others' texts may hold a secret.
type failure struct {
	text  string
	cause error
}

func (e *failure) Error() string { return e.text }
func (e *failure) Unwrap() error { return e.cause }

// fail makes the error of a fetch: what ended ctx, or a refused address, goes before what is seen of it elsewhere.
func fail(ctx context.Context, url string, err error, secrets []string) error {
	if cause := context.Cause(ctx); cause != nil {
		if limit, ok := errors.AsType[*LimitError](cause); ok {
			return limit
		}
		return fmt.Errorf("fetch %s: %w", url, cause)
	}
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return &failure{"fetch " + url + ": " + mask(refused.Error(), secrets), refused}
	}
	return &failure{text: "fetch " + url + ": " + oneLine(mask(err.Error(), secrets))}
}

// oneLine makes text of others fit to be shown: on one line, without anything that a terminal would obey, not too long.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r > 0x7e && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufffd' {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "..."
	}
	return s
}
