package console

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

// BenchmarkPages reports how long pages take with 200 apps and 10,000 builds in the record.
func BenchmarkPages(b *testing.B) {
	y := newYard(b, nil)
	y.many()
	in := y.signIn(y.token)
	for _, path := range heavy() {
		b.Run(strings.TrimPrefix(path, "/console/"), func(b *testing.B) {
			in.get(path).want(200)
			var all []time.Duration
			for b.Loop() {
				began := time.Now()
				in.get(path).want(200)
				all = append(all, time.Since(began))
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)*95/100].Microseconds())/1000, "p95-ms")
		})
	}
}
