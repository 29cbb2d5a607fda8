package registrar

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/image"
)

// Inspect finds out what the image at a digest says of itself, for all platforms that it is for. Whatever keeps it from
// being read is a *build.InvalidError: whoever registers it is told.
func Inspect(ctx context.Context, g *image.Registry, ref image.Ref) (p Package, err error) {
	all, err := g.Images(ctx, ref)
	if err != nil {
		return p, badImage(err)
	}
	for i, img := range all {
		one, err := packageOf(img)
		if err != nil {
			return p, badImage(err)
		}
		if i == 0 {
			p = one
			continue
		}
		if one.ID != p.ID || one.Version != p.Version {
			return p, badImage(fmt.Errorf("for %s it is buildpack %.200s, and for %s %.200s", p.Facts.Platforms[0], p.ID+"@"+p.Version, one.Facts.Platforms[0], one.ID+"@"+one.Version))
		}
		p.Facts.Platforms = append(p.Facts.Platforms, one.Facts.Platforms...)
	}
	return p, nil
}

func badImage(err error) error { return invalid("image", err.Error()) }

// packageOf reads the labels of a buildpackage (distribution spec, "Buildpackage").
func packageOf(img *image.Image) (p Package, err error) {
	var meta cnb.BuildpackageMetadata
	if err := label(img, cnb.LabelBuildpackage, &meta); err != nil {
		return p, err
	}
	var layers cnb.BuildpackLayersLabel
	if err := label(img, cnb.LabelBuildpackLayers, &layers); err != nil {
		return p, err
	}
	info, ok := layers[meta.ID][meta.Version]
	if !ok {
		return p, fmt.Errorf("it says that it is buildpack %.200s, which is not in it", string(meta.ID)+"@"+meta.Version)
	}
	if img.Config.OS != "linux" {
		return p, fmt.Errorf("it is for %.40q: builds run on linux", img.Config.OS)
	}
	p = Package{ID: string(meta.ID), Version: meta.Version, Facts: build.BuildpackFacts{
		Name: words(meta.Name), Description: words(meta.Description), Homepage: link(meta.Homepage), API: info.API.String(), Keywords: few(meta.Keywords),
		Platforms: []string{platformName(img)},
	}}
	for _, l := range meta.Licenses[:min(len(meta.Licenses), maxFew)] {
		p.Facts.Licenses = append(p.Facts.Licenses, words(l.Type))
	}
	for _, s := range meta.Stacks[:min(len(meta.Stacks), maxFew)] {
		p.Facts.Stacks = append(p.Facts.Stacks, words(s.ID))
	}
	for _, t := range info.Targets[:min(len(info.Targets), maxFew)] {
		target := build.BuildpackTarget{OS: words(t.OS), Arch: words(t.Arch), Variant: words(t.Variant), Distros: []build.BuildpackDistro{}}
		for _, distro := range t.Distros[:min(len(t.Distros), maxFew)] {
			target.Distros = append(target.Distros, build.BuildpackDistro{Name: words(distro.Name), Version: words(distro.Version)})
		}
		p.Facts.Targets = append(p.Facts.Targets, target)
	}
	return p, nil
}

func label(img *image.Image, name string, into any) error {
	text := img.Label(name)
	if text == "" {
		return fmt.Errorf("it is no buildpackage: it has no label %s", name)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("its label %s: %w", name, err)
	}
	return nil
}

func platformName(img *image.Image) string {
	if img.Config.Architecture == "" {
		return img.Config.OS
	}
	return img.Config.OS + "/" + words(img.Config.Architecture)
}

// maxFew and maxWords bound what is kept of what an image says of itself.
const (
	maxFew   = 50
	maxWords = 500
)

// words is somebody else's text on one line.
func words(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }), " ")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "..."
	}
	return s
}

func few(all []string) (out []string) {
	for _, s := range all[:min(len(all), maxFew)] {
		out = append(out, words(s))
	}
	return out
}

// link lets a URL through that a page can have.
func link(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || words(s) != s {
		return ""
	}
	return s
}
