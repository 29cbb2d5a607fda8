package container

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestOwner(t *testing.T) {
	me := Self()
	if again, err := ParseOwner(me.String()); err != nil || again != me {
		t.Errorf("%q came back as %+v, %v", me, again, err)
	}
	changed := func(f func(*Owner)) Owner { o := me; f(&o); return o }
	for name, test := range map[string]struct {
		o    Owner
		dead bool
	}{
		"itself":               {me, false},
		"pid used again":       {changed(func(o *Owner) { o.start-- }), true},
		"absent pid":           {changed(func(o *Owner) { o.pid = 1 << 30 }), true},
		"before the last boot": {changed(func(o *Owner) { o.boot = "other" }), true},
		"another machine":      {changed(func(o *Owner) { o.machine, o.boot = "other", "other" }), false},
		"another container":    {changed(func(o *Owner) { o.pidns, o.pid = "other", 1<<30 }), false},
		"unknown start":        {changed(func(o *Owner) { o.start, o.pid = 0, 1<<30 }), false},
		"unknown boot":         {changed(func(o *Owner) { o.boot = "unknown" }), false},
	} {
		if got := me.Dead(test.o); got != test.dead {
			t.Errorf("%s: dead is %v", name, got)
		}
	}
}

func FuzzParseOwner(f *testing.F) {
	f.Add(Self().String())
	f.Add("v1 m b pid:[4026531836] 1 2")
	f.Add("v1      ")
	f.Add("v1 m b n -1 2")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOwner(s)
		if err != nil {
			return
		}
		if again, err := ParseOwner(o.String()); err != nil || again != o || o.pid <= 0 {
			t.Errorf("%q: %+v, then %+v, %v", s, o, again, err)
		}
	})
}

// The count is looked for until it appears, and at until its file is gone.
func TestSawKill(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory.oom_control")
	saw := make(chan bool)
	look := func(ctx context.Context) { saw <- SawKill(ctx, []string{"/nowhere", file}) }

	ctx, cancel := context.WithCancel(t.Context())
	go look(ctx)
	cancel()
	if <-saw {
		t.Error("a kill without a file")
	}
	go look(t.Context())
	time.Sleep(2 * memoryEvery)
	if err := os.WriteFile(file+".new", []byte("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file+".new", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Rename(f.Name(), file); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * memoryEvery)
	if _, err := f.WriteAt([]byte("oom_kill 1\n"), int64(len("oom_kill_disable 0\nunder_oom 0\n"))); err != nil {
		t.Fatal(err)
	}
	if !<-saw {
		t.Error("a kill was not seen")
	}
	if _, err := f.WriteAt([]byte("oom_kill 0\n"), int64(len("oom_kill_disable 0\nunder_oom 0\n"))); err != nil {
		t.Fatal(err)
	}
	go look(t.Context())
	time.Sleep(2 * memoryEvery)
	if err := f.Truncate(0); err != nil { // as near to gone as a file of a disk comes
		t.Fatal(err)
	}
	if <-saw {
		t.Error("a kill in a file that went")
	}
}
