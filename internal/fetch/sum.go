package fetch

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
)

// A Sum is the SHA-256 of an archive, as "SHA256:<hex>". Made by ParseSum; the zero Sum is none.
type Sum string

// ParseSum reads the checksum of a source as people give it: SHA256:<hex>, in either case. No text is no sum.
func ParseSum(s string) (Sum, error) {
	if s == "" {
		return "", nil
	}
	kind, digits, ok := strings.Cut(s, ":")
	if b, err := hex.DecodeString(digits); !ok || !strings.EqualFold(kind, "sha256") || err != nil || len(b) != 32 {
		return "", fmt.Errorf("checksum %.100q: it is SHA256: and 64 hexadecimal digits", s)
	}
	return Sum("SHA256:" + strings.ToLower(digits)), nil
}

func sumOf(digest []byte) Sum { return Sum("SHA256:" + hex.EncodeToString(digest)) }

// A SumError tells that something else came than was asked for.
type SumError struct {
	URL       string
	Want, Got Sum
}

func (e *SumError) Error() string {
	return fmt.Sprintf("fetch %s: its checksum is %s, not %s as was asked for: another file is there now, or the checksum is wrong", e.URL, e.Got, e.Want)
}

// A LimitError tells that a source is larger, or takes longer, than it may.
type LimitError struct {
	URL  string // "" where the source comes by itself
	Text string
}

func (e *LimitError) Error() string {
	if e.URL == "" {
		return "source: " + e.Text
	}
	return "fetch " + e.URL + ": " + e.Text
}

// A StatusError tells what a server answers instead of a tarball.
type StatusError struct {
	URL  string
	Code int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("fetch %s: the server answers %d %s", e.URL, e.Code, http.StatusText(e.Code))
}
