package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Reason is why a registry did not do what it was asked.
type Reason string

// The reasons a user can do something about.
const (
	ReasonNotFound     Reason = "not-found"    // no such repository or tag
	ReasonUnauthorized Reason = "unauthorized" // credentials are missing or wrong
	ReasonDenied       Reason = "denied"       // credentials are good and not enough
	ReasonReadOnly     Reason = "read-only"    // the registry takes no writes
	ReasonDown         Reason = "down"         // nobody answers, or only errors
	ReasonTLS          Reason = "tls"          // its certificate or protocol is not accepted
	ReasonOther        Reason = "other"
)

// A RegistryError is one clear line about a registry that failed.
type RegistryError struct {
	Image  string // as the user wrote it
	Host   string
	Verb   string // "read", "write", "push", "delete"
	Reason Reason
	Err    error
	Cloud  error // why the credentials of the registry's cloud did not serve, if they were tried
}

func (e *RegistryError) Unwrap() error { return e.Err }

// Is makes a not-found registry answer ErrNotFound.
func (e *RegistryError) Is(target error) bool {
	return target == ErrNotFound && e.Reason == ReasonNotFound
}

func (e *RegistryError) Error() string {
	text := fmt.Sprintf("%s image %q: %s", e.Verb, clip(e.Image), e.what())
	if e.Cloud != nil {
		text += " (" + oneLine(e.Cloud.Error()) + ")"
	}
	return text
}

// what the registry did, without the image.
func (e *RegistryError) what() string {
	prefix := fmt.Sprintf("registry %s ", e.Host)
	if plain := "http://" + e.Host; e.Err != nil && strings.Contains(e.Err.Error(), `"`+plain+`/`) {
		prefix = fmt.Sprintf("registry %s ", plain) // so that it is seen that no https was tried, or not only
	}
	switch e.Reason {
	case ReasonNotFound:
		return prefix + "has no such image"
	case ReasonUnauthorized:
		return prefix + "wants credentials: log in with `docker login " + e.Host + "`, or check those in CNB_REGISTRY_AUTH"
	case ReasonDenied:
		return prefix + "denies access: log in with `docker login " + e.Host + "`, or check the name of the image"
	case ReasonReadOnly:
		return prefix + "is read-only"
	case ReasonDown:
		return prefix + "is not reachable: " + cause(e.Err)
	case ReasonTLS:
		return prefix + "is not trusted: " + cause(e.Err) + " (--ca-cert adds a CA, --insecure-registry allows plain http)"
	}
	return prefix + "failed: " + cause(e.Err)
}

// cause is the innermost useful text of an error, on one line.
func cause(err error) string {
	if ce, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return oneLine(ce.Error())
	}
	if silent, ok := errors.AsType[*silentError](err); ok {
		return silent.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return oneLine(op.Error())
	}
	if te, ok := errors.AsType[*transport.Error](err); ok {
		if len(te.Errors) > 0 {
			return oneLine(fmt.Sprintf("%d %s: %s", te.StatusCode, te.Errors[0].Code, te.Errors[0].Message))
		}
		return fmt.Sprintf("it answers %d %s", te.StatusCode, http.StatusText(te.StatusCode))
	}
	return oneLine(err.Error())
}

func oneLine(s string) string {
	out := []rune{}
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			r = ' '
		}
		if out = append(out, r); len(out) == 300 {
			return string(out) + "..."
		}
	}
	return string(out)
}

// failed is the error of a request to the image's registry.
func (g *Registry) failed(verb string, ref Ref, err error) error {
	err = registryError(verb, ref, err)
	if re, ok := errors.AsType[*RegistryError](err); ok && (re.Reason == ReasonUnauthorized || re.Reason == ReasonDenied) {
		re.Cloud = g.keychain.cloud.Failure(ref.Host())
	}
	return err
}

func registryError(verb string, ref Ref, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if pe, ok := errors.AsType[*PlatformError](err); ok {
		return pe
	}
	return &RegistryError{Image: ref.Familiar(), Host: ref.Host(), Verb: verb, Reason: reasonOf(err), Err: err}
}

func reasonOf(err error) Reason {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return ReasonTLS // also when plain http was tried after it and got some answer
	}
	if te, ok := errors.AsType[*transport.Error](err); ok {
		return statusReason(te)
	}
	if _, ok := errors.AsType[*realmError](err); ok {
		return ReasonOther
	}
	if isTLS(err) {
		return ReasonTLS
	}
	if _, silent := errors.AsType[*silentError](err); silent {
		return ReasonDown
	}
	_, isOp := errors.AsType[*net.OpError](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	if isOp || isDNS || transient(err) {
		return ReasonDown
	}
	return ReasonOther
}

func statusReason(te *transport.Error) Reason {
	switch te.StatusCode {
	case http.StatusNotFound:
		return ReasonNotFound
	case http.StatusUnauthorized:
		return ReasonUnauthorized
	case http.StatusForbidden:
		return ReasonDenied
	case http.StatusMethodNotAllowed:
		return ReasonReadOnly // distribution in read-only mode answers every write so
	}
	for _, d := range te.Errors {
		switch d.Code {
		case transport.DeniedErrorCode:
			return ReasonDenied
		case transport.UnauthorizedErrorCode:
			return ReasonUnauthorized
		case transport.NameUnknownErrorCode, transport.ManifestUnknownErrorCode:
			return ReasonNotFound
		case transport.UnsupportedErrorCode:
			return ReasonReadOnly
		}
	}
	if te.StatusCode >= 500 || te.StatusCode == http.StatusTooManyRequests {
		return ReasonDown
	}
	return ReasonOther
}

func isTLS(err error) bool {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
		verify   *tls.CertificateVerificationError
		alert    tls.AlertError
	)
	return errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid) ||
		errors.As(err, &record) || errors.As(err, &verify) || errors.As(err, &alert) ||
		errors.Is(err, http.ErrSchemeMismatch)
}

// transient says whether the same request may well work a moment later.
func transient(err error) bool {
	if te, ok := errors.AsType[*transport.Error](err); ok {
		return te.Temporary()
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return true
	}
	for _, e := range []error{io.ErrUnexpectedEOF, io.EOF, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
