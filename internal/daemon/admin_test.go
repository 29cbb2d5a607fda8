package daemon_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/store"
)

// TestAdminToken: who has the data directory has a way back to a service whose tokens are all lost, beside it while it
// runs.
func TestAdminToken(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if _, _, err := daemon.AdminToken(t.Context(), data, ""); err == nil || !strings.Contains(err.Error(), "is not the data of a service") {
		t.Errorf("an empty directory: %v", err)
	}
	box, err := secret.Open(filepath.Join(data, "key"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), filepath.Join(data, "slipway.db"), box)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	works := func(name, want string) {
		t.Helper()
		who, text, err := daemon.AdminToken(t.Context(), data, name)
		if err != nil || who.Name != want {
			t.Fatalf("a token of %q: %s, %v", name, who.Name, err)
		}
		a, err := s.Authenticate(t.Context(), text)
		if err != nil || a.User.Name != want || !a.User.Admin || len(a.Token.Verbs) != 4 || a.Token.App != "" {
			t.Errorf("the token of %q is %+v, %v", name, a, err)
		}
	}
	works("", "admin") // no start has made anybody yet
	if text, err := s.First(t.Context(), "admin"); err != nil || text != "" {
		t.Errorf("a start afterwards is the first: %q, %v", text, err)
	}
	for name, admin := range map[string]bool{"bob": false, "eve": true} {
		if _, err := s.CreateUser(t.Context(), name, admin); err != nil {
			t.Fatal(err)
		}
	}
	works("eve", "eve")
	works("", "admin")
	for name, says := range map[string]string{"bob": "user bob is no administrator", "mallory": `there is no user "mallory"`} {
		if _, text, err := daemon.AdminToken(t.Context(), data, name); err == nil || text != "" || !strings.Contains(err.Error(), says) {
			t.Errorf("a token of %s: %v", name, err)
		}
	}
	admin, err := s.User(t.Context(), "admin")
	if err == nil {
		err = s.DeleteUser(t.Context(), admin.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	works("", "eve")
}
