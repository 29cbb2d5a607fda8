package console

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/slipway-build/slipway/internal/build"
)

// many fills the record as a service has it after some months: 200 apps with 50 builds each.
func (y *yard) many() {
	y.t.Helper()
	a := y.app("app-000")
	y.submit(a, "Change the colour of the basket to something that can be seen")
	j := y.claim()
	y.print(j, strings.Repeat(exhibitLog, 50))
	y.finish(j, good())
	db := must(sql.Open("sqlite", filepath.Join(y.dir, "slipway.db")+"?_pragma=busy_timeout(10000)"))(y.t)
	defer db.Close()
	failure := build.JSON(failed(build.BlameApp, "slipway/nodejs@1.4.0", "exit code 1").Failure)
	for _, query := range []string{
		`INSERT INTO apps (id, name, owner, settings, build_seq, release_seq, created_at, updated_at)
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 199)
			SELECT '0190' || substr(id, 5, 29) || printf('%03d', i), printf('app-%03d', i), owner, settings, 50, 1, created_at, updated_at FROM apps, n`,
		`UPDATE apps SET build_seq = 50`,
		`INSERT INTO builds (id, app_id, number, user_id, trigger, trigger_kind, ref, session, source, state, attempt, failure, result, created_at, started_at, ended_at)
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
			SELECT substr(b.id, 1, 28) || substr(a.name, 5) || printf('%05d', i), a.id, i, b.user_id, trigger, trigger_kind, ref, session, source,
				CASE WHEN i % 5 = 0 THEN 'failed' ELSE 'succeeded' END, 1, CASE WHEN i % 5 = 0 THEN ? ELSE '' END, CASE WHEN i % 5 = 0 THEN '' ELSE result END, at, at, at + 20000000
			FROM apps a, n, (SELECT * FROM builds LIMIT 1) b, (SELECT created_at - 86400000000 AS at FROM builds LIMIT 1)
			WHERE NOT (a.name = 'app-000' AND i = 1)`,
		`UPDATE builds SET created_at = created_at - number * 30000000000, started_at = started_at - number * 30000000000, ended_at = ended_at - number * 30000000000`,
	} {
		args := []any{}
		if strings.Contains(query, "?") {
			args = append(args, failure)
		}
		must(db.ExecContext(y.t.Context(), query, args...))(y.t)
	}
}

// heavy are the pages of such a service.
func heavy() []string {
	return []string{"/console/apps", "/console/apps/app-000", "/console/apps/app-000/builds/1", "/console/apps/app-100/builds/50", "/console/buildpacks", "/console/buildpacks/slipway/nodejs", "/console/ecosystem", "/console/ecosystem?days=90", "/console/admin"}
}

// TestPagesAreLight holds what a page weighs, without its log, with the style and the script that come once.
func TestPagesAreLight(t *testing.T) {
	y := newYard(t, nil)
	y.many()
	b := y.signIn(y.token)
	assets := 0
	for name := range y.console.assets.files {
		assets += len(b.get("/assets/" + name).want(200).text)
	}
	if assets > 40<<10 {
		t.Errorf("style and script have %d bytes", assets)
	}
	for _, path := range heavy() {
		text := b.get(path).want(200).text
		before, after, _ := strings.Cut(text, `<div id="log"`)
		if _, rest, ok := strings.Cut(after, `<p id="live"`); ok {
			text = before + rest
		}
		if len(text)+assets > 100<<10 {
			t.Errorf("%s: %d bytes, and %d of assets", path, len(text), assets)
		}
	}
	b.get("/console/apps").want(200).has("200 apps", "Page 1 of 4", "app-049")
	b.get("/console/apps?page=4").want(200).has("app-199", "Page 4 of 4")
	b.get("/console/apps?q=APP-15").want(200).has("10 apps of 200", "app-157")
	b.get("/console/apps?page=0").want(404)
}

// BenchmarkPages reports how long every page takes with 200 apps and 10,000 builds in the record, and what it weighs. That
// of a template asks the template's host, which is git behind a CGI here.
//
//	go test ./internal/console -run '^$' -bench Pages -benchtime 300x
func BenchmarkPages(b *testing.B) {
	y, h := templateYard(b, withIndex(b))
	y.many()
	y.publish("slipway/nodejs", "1.3.2", "1.4.0")
	pages := heavy()
	for _, p := range y.templates(h) {
		if p[0] != "deploy-broken" {
			pages = append(pages, p[1])
		}
	}
	in := y.signIn(y.token)
	badge := "/badge/app-000.svg?key=" + y.console.badgeKey(must(y.store.AppByName(b.Context(), "app-000"))(b))
	for _, path := range append(pages, badge) {
		b.Run(path, func(b *testing.B) {
			weight := len(in.get(path).want(200).text)
			var all []time.Duration
			for b.Loop() {
				began := time.Now()
				in.get(path).want(200)
				all = append(all, time.Since(began))
			}
			slices.Sort(all)
			for _, percent := range []int{50, 95, 99} {
				b.ReportMetric(float64(all[len(all)*percent/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", percent))
			}
			b.ReportMetric(float64(weight)/1024, "KiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// watcher is run in a page: it counts frames and the gaps between them, tasks over 50 ms, and how long after its time of
// print a line is there.
const watcher = `(() => {
  const seen = window.seen = { frames: 0, gap: 0, late: 0, tasks: 0, lag: 0 };
  let last = 0;
  const frame = (now) => { if (last) { seen.frames++; seen.gap = Math.max(seen.gap, now - last); if (now - last > 50) seen.late++; } last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  new PerformanceObserver((l) => { seen.tasks += l.getEntries().length; }).observe({ type: "longtask" });
  new MutationObserver((all) => { for (const m of all) for (const n of m.addedNodes) { const t = /printed ([0-9]+)/.exec(n.textContent); if (t) seen.lag = Math.max(seen.lag, Date.now() - t[1]); } }).observe(document.getElementById("log"), { childList: true });
  return true;
})()`

// BenchmarkFollow follows 100 lines a second in a real browser, behind 2,000 that are there, and reports what a person would
// notice: frames that come late, beside those of the same page when nothing comes.
//
//	go test ./internal/console -run '^$' -bench Follow -benchtime 1x
func BenchmarkFollow(b *testing.B) {
	const rate, seconds, before = 100, 10, 2000
	y := newYard(b, nil)
	y.submit(y.app("shop"), "Add a basket")
	j := y.claim()
	for i := range before {
		y.print(j, fmt.Sprintf("[slipway/nodejs] \x1b[32madded\x1b[0m package %d\n", i+1))
	}
	c := y.chrome()
	c.visit("/console/sign-in?next=/console/apps/shop/builds/1")
	c.run("sign in", chromedp.SendKeys(chromedp.CSS("#token"), y.token+"\n"))
	c.eventually(fmt.Sprintf(`document.getElementById("L%d")`, before))
	type seen struct{ Frames, Gap, Late, Tasks, Lag float64 }
	lines := before
	for b.Loop() {
		js[bool](c, watcher)
		time.Sleep(seconds * time.Second / 2)
		idle := js[seen](c, `seen`)
		js[bool](c, watcher)
		tick := time.NewTicker(time.Second / rate)
		for i := range rate * seconds {
			<-tick.C
			y.print(j, fmt.Sprintf("[slipway/nodejs] \x1b[36mline %d\x1b[0m printed %d\n", i+1, time.Now().UnixMilli()))
		}
		tick.Stop()
		lines += rate * seconds
		c.eventually(fmt.Sprintf(`document.getElementById("L%d")`, lines))
		live := js[seen](c, `seen`)
		b.ReportMetric(live.Frames/seconds, "frames/s")
		b.ReportMetric(idle.Frames/seconds*2, "idle-frames/s")
		b.ReportMetric(live.Gap, "longest-gap-ms")
		b.ReportMetric(idle.Gap, "idle-longest-gap-ms")
		b.ReportMetric(live.Late, "late-frames")
		b.ReportMetric(live.Tasks, "long-tasks")
		b.ReportMetric(live.Lag, "longest-lag-ms")
		b.ReportMetric(0, "ns/op")
	}
	if got := js[string](c, `[...document.querySelectorAll("#log > div")].map((e) => e.id.slice(1)).join()`); got != numbers(lines) {
		b.Errorf("the lines are not there in their order: %.200s", got)
	}
	c.finish(j, good())
}

func numbers(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(i + 1)
	}
	return strings.Join(all, ",")
}
