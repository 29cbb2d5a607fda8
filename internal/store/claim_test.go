package store

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
)

// fill queues builds of an app, without a transaction for every one.
func (y *yard) fill(t testing.TB, a build.App, n int) {
	t.Helper()
	first := y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	err := y.change(t.Context(), func(tx *sql.Tx) error {
		for i := 1; i < n; i++ {
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO builds (id, app_id, number, user_id, trigger, trigger_kind, ref, session, source, state, created_at)
				SELECT ?, app_id, ?, user_id, trigger, trigger_kind, ref, session, source, state, created_at FROM builds WHERE id = ?`,
				build.NewID(), first.Number+int64(i), first.ID); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(t.Context(), `UPDATE apps SET queued = queued + ?1, build_seq = build_seq + ?1 WHERE id = ?2`, n-1, a.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLongQueue: an app with a thousand builds that wait delays another's only one by one slot, and what a claim looks
// at is found without a walk over what waits.
func TestLongQueue(t *testing.T) {
	y := newYard(t)
	u := y.user(t, "ann", false)
	a, b := y.app(t, u, "app-a"), y.app(t, u, "app-b")
	y.fill(t, a, 1000)
	first, _ := y.claim(t)
	only := y.queue(t, b, build.Trigger{Kind: build.TriggerAPI})
	if c, ok := y.claim(t); !ok || c.ID != only.ID {
		t.Errorf("beside build %d of the other app, %v was claimed: %v", first.Number, c.ID, ok)
	}
	if c, ok := y.claim(t); ok {
		t.Errorf("build %d was claimed where each app runs one", c.Number)
	}
	for query, index := range map[string]string{nextApp: "apps_turn", nextBuild: "builds_queued", expired: "builds_leased"} {
		plan := ""
		var id, parent, unused int
		if err := y.r.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...).Scan(&id, &parent, &unused, &plan); err != nil {
			t.Fatal(err)
		}
		if want := "INDEX " + index; !strings.Contains(plan+" ", want+" ") {
			t.Errorf("%s\nis done by %s, want %s", query, plan, want)
		}
	}
}
