package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// maxAnswer bounds what is read of any answer or file here.
const maxAnswer = 1 << 20

// post and get make requests; a nil header is none.
func post(u, contentType string, body []byte) (*http.Request, error) {
	r, err := http.NewRequest(http.MethodPost, u, bytes.NewReader(body))
	if err == nil {
		r.Header.Set("Content-Type", contentType)
	}
	return r, err
}

func postForm(u string, form url.Values) (*http.Request, error) {
	return post(u, "application/x-www-form-urlencoded", []byte(form.Encode()))
}

func get(u string, headers ...string) (*http.Request, error) {
	r, err := http.NewRequest(http.MethodGet, u, nil)
	if err == nil {
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	return r, err
}

// ask sends a request to an endpoint of a cloud and decodes its JSON answer into out. Redirects are not followed: the
// request holds secrets.
func (k *Keychain) ask(ctx context.Context, r *http.Request, out any) error {
	return call(ctx, k.public, publicTime, r, out)
}

// askLocal is ask for a metadata service.
func (k *Keychain) askLocal(ctx context.Context, r *http.Request, out any) error {
	return call(ctx, k.local, metadataTime, r, out)
}

func call(ctx context.Context, t http.RoundTripper, limit time.Duration, r *http.Request, out any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := t.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("ask %s: %w", r.URL.Host, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask %s: %w", r.URL.Host, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %d %s%s", r.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode), complaint(b))
	}
	if s, ok := out.(*string); ok {
		*s = strings.TrimSpace(string(b))
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s answers no JSON", r.URL.Host) // what it answers may be a secret
	}
	return nil
}

// complaint is what an answer that refuses says in the fields that clouds use for it.
func complaint(b []byte) string {
	var e struct {
		Type        string `json:"__type"`
		Message     string `json:"message"`
		Error       any    `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(b, &e) != nil {
		return ""
	}
	code, _ := e.Error.(string)
	var said []string
	for _, s := range []string{e.Type, code, e.Message, e.Description} {
		if s, _, _ = strings.Cut(s, "\n"); s != "" {
			said = append(said, s[:min(len(s), 200)])
		}
	}
	if len(said) == 0 {
		return ""
	}
	return ": " + strings.Join(said, ": ")
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAnswer+1))
	if err == nil && len(b) > maxAnswer {
		err = errors.New("the file is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}
