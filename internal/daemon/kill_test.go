package daemon_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/killpoint"
)

// A killCase has the service die at a point, by what trigger does, and says what becomes of it after the next start.
type killCase struct {
	point killpoint.Point
	// first is the point of an earlier death, of which the trigger is then; the start after it dies at point.
	first killpoint.Point

	trigger  func(k *killed)
	build    string // the state in which the build that the trigger made ends; "" where it makes none
	moved    bool   // main is where the push would have it
	released string // how the release of the build ended, where that is not as the build did
	after    func(k *killed)
}

// A killed is a case that runs. app is the one that the trigger is about.
type killed struct {
	*lane
	t    testing.TB
	app  *app
	name string // of an app that the trigger made or deleted
	put  string // where it put a source
	get  string

	forge    *forge
	listener *listener
}

// killCases has one for every point, in an order in which each begins with what the one before left.
func killCases() []killCase {
	push, build := (*killed).push, (*killed).build
	return []killCase{
		{point: killpoint.SourceKept, trigger: push},
		{point: killpoint.BuildRecorded, trigger: build, build: "succeeded"},
		{point: killpoint.LogMade, trigger: push, build: "failed"},
		{point: killpoint.Claimed, trigger: build, build: "succeeded"},
		{point: killpoint.LogBegun, trigger: push, build: "failed"},
		{point: killpoint.BeatRecorded, trigger: (*killed).slowBuild, build: "succeeded"},
		{point: killpoint.BlobStored, trigger: build, build: "succeeded"},
		{point: killpoint.ManifestPut, trigger: push, build: "failed"},
		{point: killpoint.ImagePushed, trigger: build, build: "succeeded"},
		{point: killpoint.Deciding, trigger: build, build: "succeeded"},
		{point: killpoint.RefStands, trigger: push, build: "failed"},
		{point: killpoint.CommitKept, trigger: push, build: "failed"},
		{point: killpoint.Settled, trigger: push, build: "failed"},
		{point: killpoint.Finished, trigger: push, build: "succeeded", moved: true},
		{point: killpoint.LogClosed, trigger: push, build: "succeeded", moved: true},
		{point: killpoint.TagMoved, trigger: build, build: "succeeded"},
		{point: killpoint.TagRecorded, trigger: push, build: "succeeded", moved: true},
		{point: killpoint.LettingGo, trigger: push, build: "succeeded", moved: true},
		{point: killpoint.LetGo, trigger: push, build: "succeeded", moved: true},
		{point: killpoint.RefMoved, trigger: push, build: "succeeded", moved: true},
		{point: killpoint.RefRecorded, trigger: push, build: "succeeded", moved: true},
		{point: killpoint.Detached, trigger: (*killed).pushDetached, build: "succeeded", moved: true},
		{point: killpoint.Reaped, first: killpoint.Claimed, trigger: push, build: "failed"},
		{point: killpoint.LogsClosed, first: killpoint.LogBegun, trigger: build, build: "succeeded"},
		{point: killpoint.RefRepaired, first: killpoint.Finished, trigger: push, build: "succeeded", moved: true},
		{point: killpoint.HookRecorded, trigger: (*killed).hook, build: "succeeded", after: (*killed).wantHook},
		{point: killpoint.CancelRecorded, trigger: (*killed).cancel, build: "cancelled"},
		{point: killpoint.CommandStarts, trigger: (*killed).pushCommand, build: "succeeded", moved: true, released: "failed"},
		{point: killpoint.CommandRan, trigger: (*killed).pushCommand, build: "succeeded", moved: true, released: "failed"},
		{point: killpoint.CommandRecorded, trigger: (*killed).pushCommand, build: "succeeded", moved: true},
		{point: killpoint.RollbackRecorded, trigger: (*killed).rollback, after: (*killed).wantRollback},
		{point: killpoint.AppRecorded, trigger: (*killed).create, after: (*killed).wantApp},
		{point: killpoint.AppChanged, trigger: (*killed).change, after: (*killed).wantChanged},
		{point: killpoint.AppDeleted, trigger: (*killed).remove, after: (*killed).wantRemoved},
		{point: killpoint.UploadStored, trigger: (*killed).upload, after: (*killed).wantPlace},
		{point: killpoint.SourcesPruned, trigger: (*killed).tidy},
		{point: killpoint.ManifestsDropped, trigger: (*killed).tidy},
		{point: killpoint.MessageBegun, trigger: (*killed).tellAll, build: "succeeded", after: (*killed).wantTold},
		{point: killpoint.MessageTaken, trigger: (*killed).tellAll, build: "succeeded", after: (*killed).wantTold},
		{point: killpoint.PackageRecorded, trigger: (*killed).registers, after: (*killed).wantRegistered},
		{point: killpoint.IndexCommitted, trigger: (*killed).registers, after: (*killed).wantRegistered},
		{point: killpoint.IndexPushed, trigger: (*killed).pushes, after: (*killed).wantRegistered},
		{point: killpoint.SetupRecorded, trigger: (*killed).setsUp, after: (*killed).wantSetUp},
		{point: killpoint.SetupBuilding, trigger: (*killed).setsUp, after: (*killed).wantSetUp},
		{point: killpoint.PostdeployRan, trigger: (*killed).setsUp, after: (*killed).wantInterrupted},
		{point: killpoint.SetupFailing, trigger: (*killed).setsUpInVain, after: (*killed).wantSetupFailed},
		{point: killpoint.SetupRemoved, trigger: (*killed).setsUpInVain, after: (*killed).wantSetupFailed},
	}
}

// killAll is for make soak: a third of the points in every run, which third by chance, takes a third of the time.
var killAll = flag.Bool("kill.all", false, "TestKillPoints kills the service at all points, and not at a third of them")

// TestKillPoints kills the service at declared points, and looks at what the next start makes of it. That no app
// stays locked the next case of a lane shows, whose trigger is a push or a build of the same app, and a push at the end.
//
// The guards were taken away by hand, one at a time, and what failed then was:
//
//	Service.Recover without Reap             log-begun
//	Service.Recover without endCommands      command-starts
//	Service.look without publishAll          finish-recorded
//	recoverRefs without moveRef              finish-recorded
//	matchApps without dropOrphans            app-deleted
//	Run without Sweep                        cancel-recorded, command-runs
//	the store without its look at the fence  TestFence in store, TestTriedAgain in service
func TestKillPoints(t *testing.T) {
	t.Parallel()
	cases := killCases()
	var points []killpoint.Point
	for _, c := range cases {
		points = append(points, c.point)
	}
	all := killpoint.All()
	slices.Sort(points)
	if slices.Sort(all); !slices.Equal(points, all) {
		t.Fatalf("the cases are of\n%q\nand the points are\n%q", points, all)
	}
	if !*killAll {
		random, i := rand.IntN(3), 0
		cases = slices.DeleteFunc(cases, func(killCase) bool { i++; return i%3 != random })
	}
	const lanes = 2
	t.Run("lane", func(t *testing.T) {
		for i := range lanes {
			t.Run(fmt.Sprint(i+1), func(t *testing.T) {
				t.Parallel()
				var own []killCase
				for j := i; j < len(cases); j += lanes {
					own = append(own, cases[j])
				}
				newLane(t).run(t, own)
			})
		}
	})
	t.Logf("%d of %d points", len(cases), len(all))
}

// run runs cases one after the other.
func (l *lane) run(t *testing.T, cases []killCase) {
	l.start(t)
	a := l.newApp(t, nil)
	a.commit("build.sh", "echo the first one\n")
	a.push(true, []string{"slipway", "main"}, "Released v1")
	l.kill()
	for _, c := range cases {
		t.Run(string(c.point), func(t *testing.T) {
			k := &killed{lane: l, t: t, app: a.in(t)}
			k.run(c)
		})
		l.kill() // where the case failed
	}
	t.Run("command-runs", func(t *testing.T) { l.killCommand(t, a.in(t)) })
	l.kill()
	l.start(t)
	a.commit("build.sh", "echo the last one\n")
	a.push(true, []string{"slipway", "main"}, "Released v")
	l.wantWhole(t, a)
	l.stop(t)
	t.Logf("ready after %s, at most %s", l.ready, slices.Max(l.ready))
}

// killCommand kills the service while a release command runs, which would go on for long.
func (l *lane) killCommand(t *testing.T, a *app) {
	l.start(t)
	latest := a.tag("latest")
	a.commit("build.sh", commandScript("exec sleep 1000"), "index.txt", name("text"))
	a.push(true, []string{"-f", "slipway", "main"}, ", whose release command runs now")
	eventually(t, "the release command runs", func() bool {
		return slices.ContainsFunc(l.litter(t).containers, func(id string) bool {
			return slices.ContainsFunc(processesOf(id), func(pid string) bool {
				text, err := os.ReadFile("/proc/" + pid + "/cmdline")
				return err == nil && strings.HasPrefix(string(text), "sleep\x001000")
			})
		})
	})
	l.kill()
	was := l.litter(t)
	l.start(t)
	l.wantSwept(t, was)
	l.wantWhole(t, a)
	all := a.made()
	if last := all[len(all)-1]; last.Status != "failed" || a.tag("latest") != latest {
		t.Errorf("the release: %+v, latest was %s and is %s", last, latest, a.tag("latest"))
	}
	l.stop(t)
}

// in is an app in another test.
func (a *app) in(t testing.TB) *app {
	return &app{server: a.server, tree: &tree{t, a.dir}, t: t, name: a.name}
}

func (k *killed) run(c killCase) {
	t, point := k.t, c.point
	t.Helper()
	if c.first != "" {
		point = c.first
	}
	if !k.launch(t, string(point)) {
		t.Fatalf("the service does not start: %s", &k.stderr)
	}
	main, next := k.app.remote("refs/heads/main"), len(k.app.builds())+1
	path := fmt.Sprintf("/apps/%s/builds/%d", k.app.name, next)
	f := k.follow(path)
	c.trigger(k)
	k.wantKilled(t, string(point))
	<-f.over
	was := k.litter(t)
	if c.first != "" {
		if k.launch(t, string(c.point)) {
			t.Errorf("the start did not die")
		}
		k.wantKilled(t, string(c.point))
	}
	k.start(t)
	t.Logf("ready after %s", k.ready[len(k.ready)-1].Round(time.Millisecond))
	if c.build == "failed" { // a service that is ready has no build left of the one before that nobody runs
		if b := k.app.build(next); b.State != "failed" {
			t.Errorf("the service is ready, and a build that it cannot try again is %s", b.State)
		}
	}
	k.wantSwept(t, was)
	k.wantWhole(t, k.app)
	if c.moved {
		main = k.app.head()
	}
	if at := k.app.remote("refs/heads/main"); at != main {
		t.Errorf("main is at %q, want %q", at, main)
	}
	k.wantBuild(c, next)
	if log := &f.seen; f.build != "" && !strings.HasPrefix(k.app.log(next), log.String()) {
		t.Errorf("who followed the log saw\n%q\nand it is\n%q", log, k.app.log(next))
	}
	if c.after != nil {
		c.after(k)
	}
	k.stop(t)
}

// wantBuild: the trigger has made one build, or none, and it ended as it should.
func (k *killed) wantBuild(c killCase, number int) {
	k.t.Helper()
	n := len(k.app.builds())
	if c.build == "" {
		if n != number-1 {
			k.t.Errorf("there are %d builds, want %d", n, number-1)
		}
		return
	}
	if n != number {
		k.t.Fatalf("there are %d builds, want %d", n, number)
	}
	b := k.app.build(number)
	if b.State != c.build {
		k.t.Errorf("the build %s, want %s: %+v", b.State, c.build, b.Failure)
	}
	if b.Release == nil {
		return
	}
	want := "succeeded"
	if c.released != "" {
		want = c.released
	}
	if all := k.app.made(); all[len(all)-1].Version != b.Release.Version || all[len(all)-1].Status != want {
		k.t.Errorf("the release: %+v, want it %s", all[len(all)-1], want)
	}
}
