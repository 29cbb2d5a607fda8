package console

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed asset
var assetFiles embed.FS

// assets are the files of pages, by the names under which they are served: those have a hash in them, so that a browser may
// keep them for ever.
type assets struct {
	files map[string][]byte // served name -> text
	names map[string]string // name -> served name
}

func openAssets() (a assets, err error) {
	a = assets{map[string][]byte{}, map[string]string{}}
	dir, err := fs.Sub(assetFiles, "asset")
	if err != nil {
		return a, err
	}
	return a, fs.WalkDir(dir, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		stem, ending, _ := strings.Cut(name, ".")
		served := stem + "." + hex.EncodeToString(sum[:8]) + "." + ending
		a.files[served], a.names[name] = text, served
		return nil
	})
}

// url is where a file is. That there is none is a mistake of ours.
func (a assets) url(name string) (string, error) {
	served, ok := a.names[name]
	if !ok {
		return "", fmt.Errorf("there is no asset %q", name)
	}
	return "/assets/" + served, nil
}

func mediaType(name string) string {
	switch path.Ext(name) {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	}
	return "image/svg+xml"
}

func (c *Console) asset(_ context.Context, v *visit) error {
	name := v.PathValue("file")
	text, ok := c.assets.files[name]
	if !ok {
		return nowhere("There is no such file.")
	}
	v.w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	return v.send(http.StatusOK, mediaType(name), text)
}
