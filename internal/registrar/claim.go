package registrar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/index"
)

// may tells whether an actor may change the index at all: like a push to all apps of theirs.
func may(by build.Actor) error {
	if !by.Can(build.VerbDeploy) || by.Token.App != "" {
		return fmt.Errorf("%w: to publish buildpacks, a token for all apps with the scope deploy is needed", build.ErrForbidden)
	}
	return nil
}

// claim lets through who owns a namespace, and administrators; free lets who comes first have one that is nobody's.
func (r *Registrar) claim(ctx context.Context, by build.Actor, ns string, free bool) error {
	if err := may(by); err != nil {
		return err
	}
	n, err := r.Store.Namespace(ctx, ns)
	if errors.Is(err, build.ErrNotFound) {
		if !free && !by.User.Admin {
			return notOwner(ns)
		}
		if err := r.mayHave(by, ns); err != nil {
			return err
		}
		n, err = r.Store.ClaimNamespace(ctx, ns, by.User.ID)
	}
	if err == nil && n.Owner != by.User.ID && !by.User.Admin {
		err = notOwner(ns)
	}
	return err
}

func notOwner(ns string) error {
	return fmt.Errorf("%w: the namespace %s is not yours: ask its owner, or an administrator", build.ErrForbidden, ns)
}

// mayHave tells whether an actor may have a namespace that is nobody's. One of another index is not for everybody: who
// builds with its buildpacks would get others from then on.
func (r *Registrar) mayHave(by build.Actor, ns string) error {
	if by.User.Admin {
		return nil
	}
	if r.AdminsOnly {
		return fmt.Errorf("%w: the namespace %s is nobody's: an administrator gives namespaces here", build.ErrForbidden, ns)
	}
	if x := r.Elsewhere(ns); x != "" {
		return fmt.Errorf("%w: the namespace %s is that of buildpacks in %s, which would be hidden: an administrator can give it to you", build.ErrForbidden, ns, x)
	}
	return nil
}

// Give makes a namespace a user's: one that is nobody's whoever asks first may have for themselves; an owner may hand on
// theirs, and administrators all.
func (r *Registrar) Give(ctx context.Context, by build.Actor, ns string, to build.User) (build.Namespace, error) {
	if _, err := index.ParsePublished(ns + "/a"); err != nil {
		return build.Namespace{}, invalid("namespace", err.Error())
	}
	if err := r.claim(ctx, by, ns, to.ID == by.User.ID); err != nil {
		return build.Namespace{}, err
	}
	return r.Store.GiveNamespace(ctx, ns, to.ID)
}

// Owns tells whether an actor may change what is in a namespace.
func (r *Registrar) Owns(ctx context.Context, by build.Actor, ns string) (bool, error) {
	n, err := r.Store.Namespace(ctx, ns)
	if errors.Is(err, build.ErrNotFound) {
		return false, nil
	}
	return err == nil && n.Owner == by.User.ID && may(by) == nil, err
}

// oneLine makes text of a client fit for a commit.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, s))
}
