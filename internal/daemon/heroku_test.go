package daemon_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	heroku "github.com/heroku/heroku-go/v5"
)

// TestHerokuGo has the Platform API's own Go client make an app, upload a source, build it, look at what came of it, and
// go back.
func TestHerokuGo(t *testing.T) {
	t.Parallel()
	s, ctx := common(t), t.Context()
	c := heroku.NewService(&http.Client{Transport: &heroku.Transport{BearerToken: s.token}})
	c.URL = s.url
	who := must(c.AccountInfo(ctx))(t)
	app := must(c.AppCreate(ctx, heroku.AppCreateOpts{Name: heroku.String(name("app")), Stack: heroku.String("cnb")}))(t)
	if who.Email != "admin" || app.Owner.Email != "admin" || app.Stack.Name != "cnb" || app.BuildStack.ID == "" || app.Region.Name != "local" || app.WebURL == "" || app.ReleasedAt != nil {
		t.Errorf("%+v has %+v", who, app)
	}
	stacks := must(c.StackList(ctx, nil))(t)
	one := must(c.StackInfo(ctx, app.Stack.ID))(t)
	if len(stacks) != 1 || !stacks[0].Default || stacks[0].Name != one.Name {
		t.Errorf("stacks %+v, %+v", stacks, one)
	}
	wantBuildpacks := func(want ...string) {
		t.Helper()
		update := heroku.BuildpackInstallationUpdateOpts{}
		for _, name := range want {
			update.Updates = append(update.Updates, struct {
				Buildpack string `json:"buildpack" url:"buildpack,key"`
			}{name})
		}
		if _, err := c.BuildpackInstallationUpdate(ctx, app.Name, update); err != nil {
			t.Fatal(err)
		}
		for i, b := range must(c.BuildpackInstallationList(ctx, app.ID, nil))(t) {
			if b.Ordinal != i || b.Buildpack.Name != want[i] || b.Buildpack.URL != "urn:buildpack:"+want[i] {
				t.Errorf("buildpack %d: %+v", i, b)
			}
		}
	}
	wantBuildpacks("test/other", "test/script@1.0")
	wantBuildpacks("test/script")
	value := "hello"
	if vars := must(c.ConfigVarUpdate(ctx, app.Name, map[string]*string{"GREETING": &value}))(t); *vars["GREETING"] != value {
		t.Errorf("config vars %v", vars)
	}

	built := func(text string) *heroku.Build {
		t.Helper()
		source := must(c.SourceCreate(ctx))(t)
		put := must(http.NewRequestWithContext(ctx, "PUT", source.SourceBlob.PutURL, bytes.NewReader(archive(t, "build.sh", "echo $GREETING "+text, "index.txt", text))))(t)
		res := must(http.DefaultClient.Do(put))(t)
		res.Body.Close()
		opts := heroku.BuildCreateOpts{}
		opts.SourceBlob.URL, opts.SourceBlob.Version = &source.SourceBlob.GetURL, &text
		b := must(c.BuildCreate(ctx, app.Name, opts))(t)
		stream := must(http.Get(b.OutputStreamURL))(t)
		defer stream.Body.Close()
		if log := must(io.ReadAll(stream.Body))(t); !strings.Contains(string(log), "hello "+text) {
			t.Errorf("the stream: %s", log)
		}
		eventually(t, "the build ends", func() bool { b = must(c.BuildInfo(ctx, app.Name, b.ID))(t); return b.Status != "pending" })
		if b.Status != "succeeded" || b.Release == nil || b.App.ID != app.ID || b.User.Email != "admin" || b.Stack != "cnb" || len(b.Buildpacks) != 1 || b.Buildpacks[0].Name != "test/script" {
			t.Fatalf("the build: %+v", b)
		}
		return b
	}
	first, second := built("one"), built("two")
	if all := must(c.BuildList(ctx, app.Name, &heroku.ListRange{Field: "created_at", Descending: true, Max: 10}))(t); len(all) != 2 || all[0].ID != second.ID {
		t.Errorf("builds %+v", all)
	}
	releases := must(c.ReleaseList(ctx, app.Name, &heroku.ListRange{Field: "version", Descending: true, Max: 10}))(t)
	if len(releases) != 2 || releases[0].ID != second.Release.ID || !releases[0].Current || releases[1].ID != first.Release.ID || releases[1].Current {
		t.Errorf("releases %+v", releases)
	}
	back := must(c.ReleaseRollback(ctx, app.Name, heroku.ReleaseRollbackOpts{Release: first.Release.ID}))(t)
	again := must(c.ReleaseInfo(ctx, app.Name, "3"))(t)
	if back.Version != 3 || !back.Current || again.ID != back.ID || back.Status != "succeeded" {
		t.Errorf("back to %+v, %+v", back, again)
	}
	if addons := must(c.AddOnListByApp(ctx, app.Name, nil))(t); len(addons) != 0 {
		t.Errorf("add-ons %+v", addons)
	}
	if _, err := c.AppDelete(ctx, app.Name); err != nil {
		t.Error(err)
	}
	_, err := c.AppInfo(ctx, app.Name)
	if e, ok := errors.AsType[heroku.Error](err); !ok || e.ID != "not_found" || e.StatusCode != http.StatusNotFound {
		t.Errorf("the app is gone, and asked for: %v", err)
	}
}

// TestBuildResult is how a build ended as clients ask that follow nothing.
func TestBuildResult(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	a.submitScript("echo the last word\nexit 7\n", false)
	a.ended(1)
	var got struct {
		Build struct{ Status string }
		Code  *int `json:"exit_code"`
		Lines []struct{ Stream, Line string }
	}
	a.api("GET", "/builds/1/result", nil).want(200).into(&got)
	var text strings.Builder
	for _, l := range got.Lines {
		text.WriteString(l.Line)
	}
	if got.Build.Status != "failed" || got.Code == nil || *got.Code != 1 || !strings.Contains(text.String(), "the last word\n") {
		t.Errorf("the result: %+v", got)
	}
}
