package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// pageRoutes are the pages behind the door.
func (c *Console) pageRoutes() []route {
	const app = "/console/apps/{app}"
	const oneBuild = app + "/builds/{build}"
	return []route{
		{"GET", "/console/apps", signedIn, c.appsPage},
		{"POST", "/console/apps", signedIn, c.newApp},
		{"GET", app, signedIn, c.appPage},
		{"POST", app + "/purge-cache", signedIn, c.purgeCache},
		{"GET", oneBuild, signedIn, c.buildPage},
		{"GET", oneBuild + "/stream", signedIn, c.stream},
		{"GET", oneBuild + "/log.txt", signedIn, c.logText},
		{"POST", oneBuild + "/cancel", signedIn, c.cancelBuild},
		{"POST", oneBuild + "/retry", signedIn, c.retryBuild},
		{"GET", "/badge/{file}", anybody, c.badge},
		{"GET", "/console/buildpacks", signedIn, c.buildpacksPage},
		{"GET", "/console/buildpacks/{id...}", signedIn, c.buildpackPage},
		{"GET", "/console/ecosystem", signedIn, c.ecosystemPage},
		{"GET", "/console/admin", admin, c.adminPage},
	}
}

// An overview is an app with its newest build.
type overview struct {
	App  build.App
	Last *build.Build // without its result; nil: it has none
}

type appsData struct {
	Apps        []overview
	All         int // that the visitor sees
	Found       int // of those, with the query in their name
	Query       string
	Page, Pages int
	New         bool // the visitor may make apps
	Templates   bool // of templates too
	Remote      string
	Wanted      string // name of an app that could not be made
	Wrong       string
}

// appsShown is how many apps a page has.
const appsShown = 50

func (c *Console) appsPage(ctx context.Context, v *visit) error {
	return c.showApps(ctx, v, http.StatusOK, "", "")
}

func (c *Console) showApps(ctx context.Context, v *visit, status int, wanted, wrong string) error {
	all, err := c.Store.Apps(ctx, v.actor)
	if err != nil {
		return err
	}
	query := v.URL.Query().Get("q")
	d := appsData{All: len(all), Query: query[:min(len(query), 200)], New: v.mayMakeApps(), Templates: v.setsUp() == "", Remote: c.at(v.Request, "/").String(), Wanted: wanted, Wrong: wrong}
	all = slices.DeleteFunc(all, func(a build.App) bool { return !strings.Contains(string(a.Name), strings.ToLower(d.Query)) })
	if d.Page, err = v.pageNumber(); err != nil {
		return err
	}
	d.Found, d.Pages = len(all), pagesOf(len(all), appsShown)
	all = slice(all, d.Page, appsShown)
	last, err := c.Store.Newest(ctx, all)
	if err != nil {
		return err
	}
	for _, a := range all {
		o := overview{App: a}
		if b, ok := last[a.ID]; ok {
			o.Last = &b
		}
		d.Apps = append(d.Apps, o)
	}
	return v.page(status, "apps", "Apps", d)
}

// pageNumber is which page of a long list is asked for.
func (v *visit) pageNumber() (int, error) {
	n, err := strconv.Atoi(cmp.Or(v.URL.Query().Get("page"), "1"))
	if err != nil || n < 1 || n > 1_000_000 {
		return 0, nowhere("There is no such page.")
	}
	return n, nil
}

func pagesOf(n, each int) int { return max(1, (n+each-1)/each) }

func slice[T any](all []T, page, each int) []T {
	from := min((page-1)*each, len(all))
	return all[from:min(from+each, len(all))]
}

func (v *visit) mayMakeApps() bool { return v.actor.Can(build.VerbManage) && v.actor.Token.App == "" }

// newApp makes an app by its name; all else of it is as the service has it.
func (c *Console) newApp(ctx context.Context, v *visit) error {
	if !v.mayMakeApps() {
		return refused("Apps are made with a token for all apps that has the scope manage.")
	}
	text := v.PostForm.Get("name")
	name, err := build.ParseAppName(text)
	if err != nil || name == build.IndexName {
		return c.showApps(ctx, v, http.StatusUnprocessableEntity, text, "A name has 3 to 30 lower-case letters, digits and dashes, a letter first, no dash last.")
	}
	a, err := c.Store.CreateApp(ctx, build.App{Name: name, Owner: v.actor.User.ID, Branch: "main", Disconnect: build.Continue})
	if errors.Is(err, build.ErrConflict) {
		return c.showApps(ctx, v, http.StatusConflict, text, "That name is taken, by you or somebody else. Choose another.")
	}
	if err != nil {
		return err
	}
	if c.Created != nil {
		if err := c.Created(ctx, a); err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return errors.Join(fmt.Errorf("make what app %s needs: %w", a.Name, err), c.Service.DeleteApp(ctx, a.ID))
		}
	}
	return v.say(done, fmt.Sprintf("The app %s is there. Push to it to build it.", a.Name), "/console/apps/"+string(a.Name))
}
