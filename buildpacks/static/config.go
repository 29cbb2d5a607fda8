package main

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// config is how an app says what to serve: the table [com.slipway.static] of project.toml; BP_STATIC_ROOT
// and BP_STATIC_SPA go before it.
type config struct {
	Root string `toml:"root"` // directory to serve, relative to the app
	SPA  bool   `toml:"spa"`  // unknown paths get index.html

	where string // what named the root, "" when it was found
}

func readConfig(app string, env parcel.Env) (config, error) {
	var c config
	text, ok, err := parcel.ReadText(app, "project.toml")
	if err != nil {
		return c, err
	}
	if ok {
		var doc struct {
			Com struct {
				Slipway struct {
					Static config `toml:"static"`
				} `toml:"slipway"`
			} `toml:"com"`
		}
		if err := toml.Unmarshal([]byte(text), &doc); err != nil {
			return c, parcel.Yours("correct project.toml", "your project.toml: %w", err)
		}
		c = doc.Com.Slipway.Static
		c.where = "project.toml"
	}
	if v := strings.TrimSpace(env["BP_STATIC_ROOT"]); v != "" {
		c.Root, c.where = v, "BP_STATIC_ROOT"
	}
	if env["BP_STATIC_SPA"] != "" {
		if c.SPA, err = env.Flag("BP_STATIC_SPA"); err != nil {
			return c, err
		}
	}
	if c.Root == "" {
		c.where = ""
		return c, nil
	}
	c.Root = path.Clean(filepath.ToSlash(c.Root))
	if !filepath.IsLocal(c.Root) {
		return c, parcel.Yours("name a directory of the app", "%s names %q, which is outside the app", c.where, c.Root)
	}
	return c, nil
}

// usual are the directories that site generators write, in the order of the search.
func usual() []string { return []string{"public", "dist", "build", "_site", "out", "."} }

// findRoot is the first usual directory with an index.html, or "".
func findRoot(app string) string {
	for _, d := range usual() {
		if isFile(filepath.Join(app, d, "index.html")) {
			return d
		}
	}
	return ""
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
