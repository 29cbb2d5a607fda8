package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MinSecret is how long a secret is at least. What is shorter opens nothing: an empty one would open everything.
const MinSecret = 16

// standardPrefix is before the base64 of a key in Standard Webhooks ("Signature scheme").
const standardPrefix = "whsec_"

// tolerance is how far the time in a signature may be from now (Standard Webhooks leaves it open; 5 minutes are usual).
const tolerance = 5 * time.Minute

// usable leaves the places of secrets that are none empty, so that the others keep theirs.
func usable(secrets []string) []string {
	out := make([]string, len(secrets))
	for i, s := range secrets {
		if len(s) >= MinSecret {
			out[i] = s
		}
	}
	return out
}

func unauthorized(code, format string, args ...any) *Refusal {
	return &Refusal{http.StatusUnauthorized, code, fmt.Sprintf(format, args...)}
}

// one is the value of a header that may be there once.
func one(r Request, header string) (string, *Refusal) {
	values := r.Header.Values(header)
	switch {
	case len(values) > 1:
		return "", unauthorized(CodeDoubleSig, "the header %s is there %d times", header, len(values))
	case len(values) == 0 || values[0] == "":
		return "", unauthorized(CodeUnsigned, "the request is not signed: it has no %s: give the hook's secret to the forge", header)
	}
	return values[0], nil
}

// signedHex compares an HMAC-SHA256 in hexadecimal, after a prefix, with those that the secrets make.
func signedHex(header, prefix, value string, signed []byte, secrets []string) (int, *Refusal) {
	digits, ok := strings.CutPrefix(value, prefix)
	if digits == "" {
		return 0, unauthorized(CodeUnsigned, "the signature in %s is empty: give the hook's secret to the forge", header)
	}
	got, err := hex.DecodeString(digits)
	if !ok || err != nil || len(got) != sha256.Size {
		return 0, unauthorized(CodeMalformedSig, "the signature in %s is not %s64 hexadecimal digits", header, prefix)
	}
	return found(secrets, func(secret string) bool { return hmac.Equal(got, mac([]byte(secret), signed)) }, header)
}

func mac(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// found asks about every secret, whichever it is that fits.
func found(secrets []string, fits func(secret string) bool, header string) (int, *Refusal) {
	which := -1
	for i, s := range secrets {
		if s != "" && fits(s) && which < 0 {
			which = i
		}
	}
	if which < 0 {
		return 0, unauthorized(CodeWrongSig, "the signature in %s was not made with the hook's secret over this body", header)
	}
	return which, nil
}

// bareHex is how Gitea and Forgejo sign.
func bareHex(header string) func(Request, []byte, []string) (int, *Refusal) {
	return func(r Request, signed []byte, secrets []string) (int, *Refusal) {
		value, refusal := one(r, header)
		if refusal != nil {
			return 0, refusal
		}
		return signedHex(header, "", value, signed, secrets)
	}
}

func githubHex(r Request, signed []byte, secrets []string) (int, *Refusal) {
	const header = "X-Hub-Signature-256"
	value, refusal := one(r, header)
	if refusal != nil {
		if refusal.Code == CodeUnsigned && r.Header.Get("X-Hub-Signature") != "" {
			refusal = unauthorized(CodeSHA1, "the request is signed with SHA-1 only, which proves nothing any more: %s is missing", header)
		}
		return 0, refusal
	}
	return signedHex(header, "sha256=", value, signed, secrets)
}

// bitbucketHex looks into the header in which GitHub has SHA-1.
func bitbucketHex(r Request, signed []byte, secrets []string) (int, *Refusal) {
	const header = "X-Hub-Signature"
	value, refusal := one(r, header)
	if refusal != nil {
		return 0, refusal
	}
	if strings.HasPrefix(value, "sha1=") {
		return 0, unauthorized(CodeSHA1, "the request is signed with SHA-1, which proves nothing any more")
	}
	return signedHex(header, "sha256=", value, signed, secrets)
}

// gitlabToken takes GitLab's signature where there is one, which then must hold, else its token, which is the secret as
// it is.
func gitlabToken(r Request, signed []byte, secrets []string) (int, *Refusal) {
	if len(r.Header.Values("Webhook-Signature")) > 0 {
		return standard(r, signed, secrets)
	}
	const header = "X-Gitlab-Token"
	value, refusal := one(r, header)
	if refusal != nil {
		return 0, refusal
	}
	got := sha256.Sum256([]byte(value)) // so that lengths are not told either
	return found(secrets, func(secret string) bool {
		want := sha256.Sum256([]byte(secret))
		return subtle.ConstantTimeCompare(got[:], want[:]) == 1
	}, header)
}

// standard is the scheme of Standard Webhooks: one or more "v1,<base64>" over id, time and body.
func standard(r Request, signed []byte, secrets []string) (int, *Refusal) {
	const header = "Webhook-Signature"
	value, refusal := one(r, header)
	if refusal != nil {
		return 0, refusal
	}
	id, refusal := one(r, "Webhook-Id")
	if refusal != nil {
		return 0, refusal
	}
	at, refusal := one(r, "Webhook-Timestamp")
	if refusal != nil {
		return 0, refusal
	}
	signatures := strings.Fields(value)
	if len(signatures) > 10 {
		return 0, unauthorized(CodeDoubleSig, "the header %s has %d signatures", header, len(signatures))
	}
	var all [][]byte
	for _, s := range signatures {
		text, ok := strings.CutPrefix(s, "v1,")
		if got, err := base64.StdEncoding.DecodeString(text); ok && err == nil && len(got) == sha256.Size {
			all = append(all, got)
		}
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if len(all) == 0 || err != nil {
		return 0, unauthorized(CodeMalformedSig, "the signature in %s is not v1, and base64 of 32 bytes, with a time in Webhook-Timestamp", header)
	}
	which, refusal := found(secrets, func(secret string) bool {
		fits := false
		for _, key := range keys(secret) {
			want := mac(key, []byte(id+"."+at+"."), signed)
			for _, got := range all {
				fits = hmac.Equal(got, want) || fits
			}
		}
		return fits
	}, header)
	if refusal != nil {
		return 0, refusal
	}
	if old := r.At.Sub(time.Unix(seconds, 0)).Abs(); old > tolerance {
		return 0, unauthorized(CodeExpired, "the request was signed %s from now, at most %s is taken: it was kept and sent again, or a clock is wrong", old.Round(time.Second), tolerance)
	}
	return which, nil
}

// keys are what a secret may be as a key: as it is written, or what it is base64 of.
func keys(secret string) [][]byte {
	all := [][]byte{[]byte(secret)}
	if text, ok := strings.CutPrefix(secret, standardPrefix); ok {
		if key, err := base64.StdEncoding.DecodeString(text); err == nil && len(key) > 0 {
			all = append(all, key)
		}
	}
	return all
}
