package service

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// TestRollback goes back to an earlier image, and on from there.
func TestRollback(t *testing.T) {
	h := newHouse(t)
	for _, digest := range []string{"sha256:1", "sha256:2"} {
		h.submit(build.Trigger{Kind: build.TriggerAPI})
		j := h.claim()
		h.finish(j, good(j, digest))
	}
	first, err := h.store.Release(t.Context(), h.app.ID, "1")
	if err != nil {
		t.Fatal(err)
	}
	back, err := h.Rollback(t.Context(), first, h.user.ID)
	if err != nil || back.Version != 3 || back.Digest != "sha256:1" || back.Build != "" || back.Description != "Rollback to v1" || len(back.Processes) != 1 {
		t.Errorf("rolled back to %+v, %v", back, err)
	}
	if got := h.tags.at["registry.test/shop:latest"]; got != "sha256:1" {
		t.Errorf("the name is at %s", got)
	}

	h.tags.fail = errors.New("registry is away")
	second, err := h.store.Release(t.Context(), h.app.ID, "2")
	if err == nil {
		_, err = h.Rollback(t.Context(), second, h.user.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.tags.fail = nil
	if err := h.look(t.Context()); err != nil || h.tags.at["registry.test/shop:latest"] != "sha256:2" {
		t.Errorf("when the registry was back the name went to %s, %v", h.tags.at["registry.test/shop:latest"], err)
	}
}

// TestDeleteApp deletes an app whose build waits: who follows it sees its end.
func TestDeleteApp(t *testing.T) {
	h := newHouse(t)
	running := h.submit(build.Trigger{Kind: build.TriggerAPI})
	waits := h.submit(build.Trigger{Kind: build.TriggerAPI})
	j := h.claim()
	if err := h.DeleteApp(t.Context(), h.app.ID); !errors.Is(err, store.ErrBusy) {
		t.Errorf("an app with a running build: %v", err)
	}
	if b := h.state(waits.ID); b.State != build.Queued {
		t.Errorf("the refused deletion left the build that waits %s", b.State)
	}
	h.finish(j, good(j, "sha256:1"))
	changed := h.Watch(waits.ID)
	if err := h.DeleteApp(t.Context(), h.app.ID); err != nil {
		t.Fatal(err)
	}
	<-changed
	if log := h.log(waits.ID); !strings.Contains(log, "its app was deleted") {
		t.Errorf("log %q", log)
	}
	if info, err := h.logs.Stat(waits.ID); err != nil || info.State != build.Cancelled {
		t.Errorf("the log ended %s, %v", info.State, err)
	}
	if _, err := h.store.BuildByID(t.Context(), running.ID); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("a build of the app is there: %v", err)
	}
}
