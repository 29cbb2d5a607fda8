package platform

import (
	"context"
	"errors"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/fetch"
)

// maxDownload is how large a file of a URL may be: the buildpacks that bring every version of their language offline
// are of some hundred megabytes.
const maxDownload = 2 << 30

func isURL(arg string) bool {
	return strings.HasPrefix(arg, "https://") || strings.HasPrefix(arg, "http://")
}

// parseDownload reads "https://HOST/FILE[#sha256=HEX]"; the digest is what the file has to be.
func parseDownload(arg string) (u fetch.TarballURL, want fetch.Sum, err error) {
	text, fragment, more := strings.Cut(arg, "#")
	if more {
		digits, ok := strings.CutPrefix(fragment, "sha256=")
		if want, err = fetch.ParseSum("sha256:" + digits); !ok || err != nil {
			return u, "", errors.New("behind # stands sha256= and 64 hexadecimal digits, the checksum of the file")
		}
	}
	u, err = fetch.ParseTarballURL(text)
	return u, want, err
}

// download brings the file of a URL into the store and says where it is. One whose checksum is told is fetched once.
func (m *Machine) download(ctx context.Context, arg string) (file string, err error) {
	u, want, err := parseDownload(arg)
	if err != nil {
		return "", err
	}
	if want != "" {
		if file, err := m.Store.Path("sha256:"+strings.TrimPrefix(string(want), "SHA256:"), true); err == nil {
			return file, nil
		}
	}
	w, err := m.Store.Writer(ctx)
	if err != nil {
		return "", err
	}
	defer w.Abort()
	got, err := m.fetcher().Tarball(ctx, u, want, fetch.Limits{Archive: maxDownload}, w)
	if err != nil {
		return "", err
	}
	h := v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(string(got), "SHA256:")}
	if _, _, err := w.CommitBlob(h); err != nil {
		return "", err
	}
	return m.Store.Path(h.String(), false)
}

// fetcher is the Machine's, or one that reaches public addresses only.
func (m *Machine) fetcher() *fetch.Fetcher {
	if m.Fetch != nil {
		return m.Fetch
	}
	return &fetch.Fetcher{}
}
