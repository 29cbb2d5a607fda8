package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/appjson"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/button"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/setups"
)

// deployRoutes are the pages of deploy buttons. To look at one makes nothing: no row, no build, and no connection but to
// the template's host.
func (c *Console) deployRoutes() []route {
	return []route{
		{"GET", "/deploy", anybody, c.deployPage},
		{"POST", "/deploy", anybody, c.deploy},
		{"GET", "/console/app-name", signedIn, c.deployName},
		{"GET", "/button.svg", anybody, c.buttonImage},
		{"GET", "/console/button", anybody, c.buttonPage},
	}
}

func (c *Console) buttonImage(_ context.Context, v *visit) error {
	h := v.w.Header()
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "public, max-age=86400")
	return v.send(http.StatusOK, "image/svg+xml", button.SVG())
}

// setsUp says what keeps a visitor who has signed in from deploying a template, "" is nothing.
func (v *visit) setsUp() string {
	if v.c.Setups == nil {
		return "This service does not deploy templates."
	}
	if lacks := v.actor.SetsUp(); lacks != "" {
		return sentence(lacks) + ": it cannot deploy a template, which makes an app."
	}
	return ""
}

// An askData is the page that asks for a template.
type askData struct {
	Given  string // what was asked for
	Wrong  string
	Advice string
	Found  []finding // what is wrong with its app.json
	Commit string
	Page   string // of the commit
	Hosts  []string
	Setups bool // the visitor may have some
}

// deployPage shows a template, or asks for one.
func (c *Console) deployPage(ctx context.Context, v *visit) error {
	t, err := button.FromRequest(v.URL.RawQuery, v.Referer(), c.shelf.allowed)
	if err != nil {
		return c.ask(v, err)
	}
	p, err := c.shelf.pin(ctx, v, t, "")
	if err == nil {
		err = checkPinned(p)
	}
	if err != nil {
		return c.unreadable(v, p, err)
	}
	return c.showDeploy(ctx, v, http.StatusOK, p, nil)
}

// ask asks for a template. That none is named is no mistake; that it cannot be one is.
func (c *Console) ask(v *visit, err error) error {
	given := v.URL.Query().Get("template")
	d := askData{Given: given[:min(len(given), 2000)], Hosts: c.shelf.Hosts, Setups: v.signed && c.Setups != nil}
	if errors.Is(err, button.ErrUnknown) && given == "" {
		if v.Referer() != "" && !strings.HasPrefix(v.Referer(), c.at(v.Request, "/").String()) {
			d.Advice = "The button that you came from does not say which repository it means, and the page that it is on does not either."
		}
		return v.page(http.StatusOK, "deploy-ask", "Deploy a template", d)
	}
	d.Wrong = sentence(err.Error())
	return v.page(http.StatusUnprocessableEntity, "deploy-ask", "Deploy a template", d)
}

// unreadable tells why a template cannot be deployed.
func (c *Console) unreadable(v *visit, p button.Pinned, err error) error {
	if cause := v.Context().Err(); cause != nil {
		return cause
	}
	status, ours := templateStatus(err)
	if ours {
		return err
	}
	if status == http.StatusServiceUnavailable {
		v.w.Header().Set("Retry-After", "10")
	}
	d := askData{Given: p.URL(), Wrong: sentence(err.Error()), Advice: templateAdvice(err, v.signed), Hosts: c.shelf.Hosts, Setups: v.signed && c.Setups != nil}
	if p.Commit != "" {
		d.Commit, d.Page = string(p.Commit), commitPage(p.Repository, p.Commit)
		d.Found = findings(p, appjson.Error)
	}
	return v.page(status, "deploy-ask", "This template cannot be deployed", d)
}

var errAppJSON = errors.New("the app.json of the template keeps it from being deployed")

func checkPinned(p button.Pinned) error {
	if p.App == nil || len(appjson.Blocking(p.Found, appjson.Production)) > 0 {
		return errAppJSON
	}
	return nil
}

// A deployData is the page of a template.
type deployData struct {
	button.Pinned
	form
	Self      string // this page again
	From      string // Ref, for people
	Named     bool   // the link names a commit
	Page      string // of the repository
	AtCommit  string // page of the commit
	AtFile    string // page of the app.json
	Warnings  []finding
	Name      string
	NameWrong string
	NameNote  string
	Cannot    string // why who is signed in cannot deploy
	Wrong     string
	Without   bool // it may be deployed without what its add-ons would set
}

// showDeploy answers with the page of a template, with what was posted filled in.
func (c *Console) showDeploy(ctx context.Context, v *visit, status int, p button.Pinned, change func(*deployData)) error {
	builtin, err := c.builtins(ctx)
	if err != nil {
		return err
	}
	d := deployData{
		Pinned: p, form: formOf(p, hasOf(builtin)), Self: deployLink(p.Template), From: refOf(p), Named: p.Ref == "" && p.Path != "",
		Page: repositoryPage(p.Repository), AtCommit: commitPage(p.Repository, p.Commit), AtFile: filePage(p, "app.json", 0),
		Warnings: findings(p, appjson.Warning), Name: string(suggested(p)),
	}
	if v.signed {
		if d.Cannot = v.setsUp(); d.Cannot == "" {
			free, err := c.free(ctx, build.AppName(d.Name))
			if err != nil {
				return err
			}
			if !free {
				d.Name = string(another(build.AppName(d.Name)))
			}
		}
	}
	if change != nil {
		change(&d)
	}
	title := p.App.Name
	if title == "" {
		title = string(suggested(p))
	}
	return v.page(status, "deploy", "Deploy "+title, d)
}

// deployLink is the page of a template.
func deployLink(t button.Template) string {
	var link strings.Builder
	link.WriteString(button.PagePath + "?template=" + url.QueryEscape(t.URL()))
	for _, s := range t.Env {
		link.WriteString("&" + url.QueryEscape("env["+string(s.Name)+"]") + "=" + url.QueryEscape(s.Value))
	}
	return link.String()
}

// deploy takes the form of a template: it starts a setup. Who has not signed in does so first, and finds all of it as it was.
func (c *Console) deploy(ctx context.Context, v *visit) error {
	t, err := button.FromRequest(v.URL.RawQuery, "", c.shelf.allowed)
	if err != nil {
		return c.ask(v, err)
	}
	note := ""
	if !v.signed {
		d := signInData{Action: deployLink(t), Fields: carried(v.PostForm)}
		if !v.PostForm.Has("token") {
			d.Asked = "To deploy the template, sign in. What you filled in is kept."
			return v.page(http.StatusOK, "sign-in", "Sign in", d)
		}
		if ok, err := c.authenticate(ctx, v, d); !ok {
			return err
		}
		note = "You are signed in. Look at it once more, and deploy."
	}
	if err := v.may(build.VerbRead); err != nil {
		return err
	}
	commit, err := fetch.ParseCommit(v.PostForm.Get("commit"))
	if err != nil {
		return &problem{http.StatusUnprocessableEntity, "That cannot be taken", "The form names no commit. Load its page again."}
	}
	p, err := c.shelf.pin(ctx, v, t, commit)
	if err == nil {
		err = checkPinned(p)
	}
	if err != nil {
		return c.unreadable(v, p, err)
	}
	return c.take(ctx, v, p, v.PostForm, note)
}

// carried are the fields of a form that goes through the door with its visitor.
func carried(posted url.Values) (all [][2]string) {
	for name, values := range posted {
		if name == csrfField || name == "token" || name == "do" {
			continue
		}
		for _, text := range values {
			all = append(all, [2]string{name, text})
		}
	}
	slices.SortFunc(all, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return all
}

// take looks at what is filled in, and starts; with a note it shows the form with it in place of that.
func (c *Console) take(ctx context.Context, v *visit, p button.Pinned, posted url.Values, note string) error {
	builtin, err := c.builtins(ctx)
	if err != nil {
		return err
	}
	f := formOf(p, hasOf(builtin))
	given, ok := f.fill(posted)
	text := strings.TrimSpace(posted.Get("name"))
	name, wrong, err := c.named(ctx, v, text)
	if err != nil {
		return err
	}
	again := func(status int, change func(*deployData)) error {
		return c.showDeploy(ctx, v, status, p, func(d *deployData) {
			d.form, d.Name, d.Without = f, text, posted.Get("without-addons") != ""
			change(d)
		})
	}
	switch {
	case note != "":
		return again(http.StatusOK, func(d *deployData) {
			d.NameWrong, d.NameNote = wrong, note
			d.each(func(one *field) { one.Wrong = "" })
		})
	case v.setsUp() != "":
		return refused(v.setsUp())
	case v.PostForm.Get("do") == "name":
		return again(http.StatusOK, func(d *deployData) {
			if d.NameWrong = wrong; wrong == "" {
				d.NameNote = "The name is free."
			}
			d.each(func(one *field) { one.Wrong = "" })
		})
	case wrong != "":
		if twin, err := c.twin(ctx, v, name, p); twin != "" || err != nil {
			return cmp.Or(err, v.redirect(twin))
		}
	}
	if !ok || wrong != "" {
		return again(http.StatusUnprocessableEntity, func(d *deployData) {
			d.NameWrong, d.Wrong = wrong, "Nothing was made yet: something is missing, and is marked below."
		})
	}
	return c.begin(ctx, v, p, posted, setups.Request{
		Name: string(name), Template: &p, Env: given, WithoutAddons: posted.Get("without-addons") != "", Trigger: build.TriggerButton,
	}, again)
}

// begin starts a setup; again shows the form where something has to be changed.
func (c *Console) begin(ctx context.Context, v *visit, p button.Pinned, posted url.Values, in setups.Request, again func(status int, change func(*deployData)) error) error {
	s, err := c.Setups.Start(ctx, v.actor, in)
	if r, ok := errors.AsType[*setups.Refusal](err); ok {
		return again(http.StatusUnprocessableEntity, func(d *deployData) { d.refuse(r) })
	}
	if err != nil {
		return err
	}
	_, query, _ := strings.Cut(deployLink(p.Template), "?")
	c.drafts.keep(draft{setup: s.ID, query: query, commit: p.Commit, posted: posted})
	return v.redirect(setupPath(s))
}

// twin is the page of the setup that a form has started which was sent twice, "" if there is none.
func (c *Console) twin(ctx context.Context, v *visit, name build.AppName, p button.Pinned) (string, error) {
	a, err := c.Store.AppByName(ctx, string(name))
	var s build.Setup
	if err == nil {
		s, err = c.Store.SetupOfApp(ctx, a.ID)
	}
	if errors.Is(err, build.ErrNotFound) {
		return "", nil
	}
	if err != nil || s.User != v.actor.User.ID || s.Template.Commit != string(p.Commit) || s.Template.Dir != string(p.Dir) || time.Since(s.CreatedAt) > time.Minute {
		return "", err
	}
	return setupPath(s), nil
}

// refuse shows what keeps a setup from being made where it can be changed.
func (d *deployData) refuse(r *setups.Refusal) {
	d.Wrong = "Nothing was made yet: something has to be changed."
	for _, p := range r.Problems {
		text, placed := sentence(p.Text)+".", false
		kind, of, _ := strings.Cut(p.Field, ".")
		switch kind {
		case "name":
			d.NameWrong, placed = text, true
		case "env":
			d.each(func(one *field) {
				if string(one.Name) == of {
					one.Wrong, placed = text, true
				}
			})
		case "addons":
			for i := range d.Addons {
				if d.Addons[i].Service == of {
					d.Addons[i].Wrong, placed = text, true
				}
			}
		}
		if !placed {
			d.Wrong += " " + text
		}
	}
}

// named looks whether an app can have a name. Whether it is taken is told to those only who could take it: all apps share
// their names, and not everybody sees all apps.
func (c *Console) named(ctx context.Context, v *visit, text string) (name build.AppName, wrong string, err error) {
	name, err = build.ParseAppName(text)
	if err != nil || name == build.IndexName {
		return "", "A name has 3 to 30 lower-case letters, digits and dashes, a letter first, no dash last.", nil
	}
	if v.setsUp() != "" {
		return name, "", nil
	}
	free, err := c.free(ctx, name)
	if err == nil && !free {
		wrong = "That name is taken, by you or somebody else. Choose another."
	}
	return name, wrong, err
}

func (c *Console) free(ctx context.Context, name build.AppName) (bool, error) {
	_, err := c.Store.AppByName(ctx, string(name))
	if errors.Is(err, build.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// deployName tells the form of a template whether a name is free, while somebody writes it.
func (c *Console) deployName(ctx context.Context, v *visit) error {
	if lacks := v.setsUp(); lacks != "" {
		return refused(lacks)
	}
	_, wrong, err := c.named(ctx, v, v.URL.Query().Get("name"))
	if err != nil {
		return err
	}
	text, err := json.Marshal(map[string]string{"wrong": wrong})
	if err != nil {
		return err
	}
	return v.send(http.StatusOK, "application/json", text)
}

// sentence begins an error's text as people write.
func sentence(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
