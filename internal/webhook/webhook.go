// Package webhook reads what forges send when somebody pushed: GitHub, GitLab, Gitea, Forgejo and Bitbucket (Cloud and Data
// Center). Open makes one verified Event of a request, or says why not; a Rule says what of it is built. It is pure: no
// I/O and no clock, and nothing of a request is believed before its signature is found to be made with a secret of the
// hook.
package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// MaxBody is how large a request may be: what GitHub sends at most.
const MaxBody = 25 << 20

// A Forge is who sent a request.
type Forge string

// The forges.
const (
	GitHub          Forge = "github"
	GitLab          Forge = "gitlab"
	Gitea           Forge = "gitea"
	Forgejo         Forge = "forgejo"
	Bitbucket       Forge = "bitbucket"
	BitbucketServer Forge = "bitbucket-server"
)

// A Request is what came, as it came.
type Request struct {
	Header http.Header
	Body   []byte
	At     time.Time
}

// A Kind is what an Event is about, as far as it matters here.
type Kind string

// The kinds. Push is of branches and tags, their making and removal too.
const (
	Push  Kind = "push"
	Ping  Kind = "ping"
	Other Kind = "other"
)

// An Event is a request whose signature holds.
type Event struct {
	Forge Forge
	Kind  Kind
	Name  string // the forge's own word for the kind
	// Delivery is the same when the forge sends the event again. No signature covers it, but for GitLab's new one.
	Delivery string
	// Replay is the same when the same signed text comes again, whatever is around it; "" for forges whose texts of two
	// events may be the same.
	Replay     string
	Secret     int    // which of the secrets it was signed with
	Repository string // owner/name, or deeper, as the forge has it
	Changes    []Change
}

// A Change is what happened to one ref. Of a push there is at least one.
type Change struct {
	Ref     string `json:"ref"`              // refs/heads/... or refs/tags/..., or what else there is
	Commit  string `json:"commit,omitempty"` // that the ref is at now; "" when it was removed
	Before  string `json:"before,omitempty"` // "" when it was not there
	Forced  bool   `json:"forced,omitempty"`
	Message string `json:"message,omitempty"` // of Commit, where the forge tells it
	// Paths are those that the change touches; with Unknown there may be others.
	Paths   []string `json:"paths,omitempty"`
	Unknown bool     `json:"unknown,omitempty"`
}

// Deleted tells that the ref is gone.
func (c Change) Deleted() bool { return c.Commit == "" }

// Created tells that the ref was not there.
func (c Change) Created() bool { return c.Before == "" }

// A Refusal is why a request is no Event. Status is HTTP's, Code for programs, Reason one line for people.
type Refusal struct {
	Status int
	Code   string
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

// The codes of refusals.
const (
	CodeUnknownForge = "unknown-forge"
	CodeUnsigned     = "unsigned"
	CodeSHA1         = "sha1-only"
	CodeMalformedSig = "malformed-signature"
	CodeDoubleSig    = "double-signature"
	CodeWrongSig     = "wrong-signature"
	CodeExpired      = "expired"
	CodeTooLarge     = "too-large"
	CodeMediaType    = "media-type"
	CodeMalformed    = "malformed"
	CodeTooDeep      = "too-deep"
	CodeTooManyRefs  = "too-many-refs"
)

func malformed(format string, args ...any) *Refusal {
	return &Refusal{http.StatusBadRequest, CodeMalformed, fmt.Sprintf(format, args...)}
}

// TooLarge is the refusal of a body beyond MaxBody, for who sees that before it is read.
func TooLarge() *Refusal {
	return &Refusal{http.StatusRequestEntityTooLarge, CodeTooLarge, fmt.Sprintf("the body has more than %d bytes, the limit", MaxBody)}
}

// Claims are what a header says of a request that nobody has read: forge, name and delivery.
func Claims(h http.Header) Event {
	_, e, _ := identify(Request{Header: h})
	return e
}

// Open verifies a request with the secrets of its hook, of which each alone is enough, and reads it. The error is a
// *Refusal; the Event then says only what the header claims: forge, name and delivery.
func Open(r Request, secrets []string) (Event, error) {
	d, e, refusal := identify(r)
	if refusal != nil {
		return e, refusal
	}
	if len(r.Body) > MaxBody {
		return e, TooLarge()
	}
	form, refusal := mediaType(r.Header)
	if refusal != nil {
		return e, refusal
	}
	signed, text := r.Body, r.Body
	if form {
		if text, refusal = payloadOf(r.Body); refusal != nil && d.signsPayload {
			return e, refusal
		}
		if d.signsPayload {
			signed = text
		}
	}
	which, signature := d.verify(r, signed, usable(secrets))
	if signature != nil {
		return e, signature
	}
	if refusal != nil {
		return e, refusal
	}
	if refusal := bounded(text); refusal != nil {
		return e, refusal
	}
	claimed := e
	if refusal := d.read(&e, text); refusal != nil {
		return claimed, refusal
	}
	e.Secret = which
	sum := sha256.Sum256(signed)
	if d.unlike {
		e.Replay = hex.EncodeToString(sum[:])
	}
	if e.Delivery == "" {
		e.Delivery = "sha256:" + hex.EncodeToString(sum[:])
	}
	if refusal := e.check(); refusal != nil {
		return claimed, refusal
	}
	return e, nil
}

// check looks at what a push says, wherever it came from.
func (e *Event) check() *Refusal {
	if e.Kind != Push {
		e.Changes = nil
		return nil
	}
	if e.Repository == "" || !word(e.Repository, 500) {
		return malformed("the push does not say of which repository it is")
	}
	if len(e.Changes) == 0 {
		return malformed("the push names no ref")
	}
	for i := range e.Changes {
		if refusal := e.Changes[i].check(); refusal != nil {
			return refusal
		}
	}
	return nil
}

func (c *Change) check() *Refusal {
	if !refName(c.Ref) {
		return malformed("the push names a ref that git would not have: %.80q", c.Ref)
	}
	for _, commit := range []*string{&c.Commit, &c.Before} {
		if strings.Trim(*commit, "0") == "" {
			*commit = "" // no commit, as git writes it
		} else if !isCommit(*commit) {
			return malformed("a commit of %.80q is no full name of one, 40 hexadecimal digits: %.80q", c.Ref, *commit)
		}
	}
	if c.Created() && c.Deleted() {
		return malformed("the push makes and removes nothing at %.80q", c.Ref)
	}
	if c.Created() || c.Forced {
		c.Unknown = true // compared with what is not said
	}
	return nil
}

func isCommit(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// refName tells whether git would have a ref of the name.
func refName(s string) bool {
	if !strings.HasPrefix(s, "refs/") || !word(s, 200) || strings.ContainsAny(s, " ~^:?*[\\") || strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.HasSuffix(s, ".") {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// word tells whether a text is one printable line of a length.
func word(s string, most int) bool {
	return len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
}
