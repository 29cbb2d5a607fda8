package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

func TestSessions(t *testing.T) {
	y := newYard(t)
	ctx := context.Background()
	u := y.user(t, "ada", true)
	token, _, err := y.CreateToken(ctx, build.Token{User: u.ID, Verbs: build.Verbs()})
	if err != nil {
		t.Fatal(err)
	}
	begin := func() string {
		id, err := y.CreateSession(ctx, token.ID, y.clock.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	one, two := begin(), begin()
	if a, err := y.OpenSession(ctx, one); err != nil || a.User.ID != u.ID || a.Token.ID != token.ID {
		t.Fatalf("%+v, %v", a, err)
	}
	if err := y.EndSession(ctx, one); err != nil {
		t.Fatal(err)
	}
	gone := func(id, why string) {
		t.Helper()
		if _, err := y.OpenSession(ctx, id); !errors.Is(err, build.ErrNotFound) {
			t.Errorf("%s: %v", why, err)
		}
	}
	gone(one, "signed out")
	gone("", "no id")
	gone(two[:len(two)-1]+"!", "a wrong id")
	if _, err := y.OpenSession(ctx, two); err != nil {
		t.Errorf("the other one: %v", err)
	}
	y.clock = y.clock.Add(2 * time.Hour)
	gone(two, "over")
	three := begin()
	var n int
	if err := y.r.QueryRow(`SELECT count(*) FROM console_sessions`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d sessions are kept, %v", n, err)
	}
	if err := y.RevokeToken(ctx, u.ID, token.ID); err != nil {
		t.Fatal(err)
	}
	gone(three, "its token was revoked")
}
