package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// A signer makes URLs that work without a token: for one purpose, one thing, and some time.
type signer struct{ key []byte }

// A purpose is what a signed URL is for; a signature for one is none for another.
type purpose string

const (
	toPut    purpose = "put a source"
	toFollow purpose = "follow a build"
)

// sign makes the value of ?sig=: when it ends, and the HMAC of that, of the purpose and of the id.
func (s signer) sign(p purpose, id build.ID, until time.Time) string {
	end := strconv.FormatInt(until.Unix(), 10)
	return end + "." + base64.RawURLEncoding.EncodeToString(s.mac(p, id, end))
}

func (s signer) mac(p purpose, id build.ID, end string) []byte {
	m := hmac.New(sha256.New, s.key)
	fmt.Fprintf(m, "slipway URL 1\x00%s\x00%s\x00%s", p, id, end)
	return m.Sum(nil)
}

// valid tells whether a value is what sign made, and has not ended.
func (s signer) valid(p purpose, id build.ID, sig string, now time.Time) bool {
	end, mac, _ := strings.Cut(sig, ".")
	got, err := base64.RawURLEncoding.DecodeString(mac)
	until, ierr := strconv.ParseInt(end, 10, 64)
	same := hmac.Equal(got, s.mac(p, id, end))
	return err == nil && ierr == nil && same && now.Before(time.Unix(until, 0))
}
