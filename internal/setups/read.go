package setups

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-build/slipway/internal/appjson"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/source"
)

// ofArchive is what people are told of an archive.
func ofArchive(s build.Source) build.SetupTemplate {
	t := build.SetupTemplate{Checksum: s.Checksum, Version: s.Version}
	if u, err := fetch.ParseTarballURL(s.URL); err == nil {
		t.URL = u.String()
	}
	return t
}

const appJSON, procfile = "app.json", "Procfile"

// read reads the app.json of an archive, which is fetched before where that is not here. What is read is what is built.
func (d *drive) read(ctx context.Context) error {
	if d.v.Source.Stored == "" {
		if err := d.fetch(ctx); err != nil {
			return err
		}
	}
	path, err := d.s.o.Sources.Path(fetch.Key(d.v.Source.Stored))
	if err != nil {
		return fmt.Errorf("what was handed in is not kept any more: %w", err)
	}
	files, err := source.Files(ctx, path, true, appjson.MaxBytes, appJSON, procfile)
	if err != nil {
		return &refused{text: "the archive cannot be read: " + strings.ReplaceAll(err.Error(), path, "archive")}
	}
	text, ok := files[appJSON]
	if !ok {
		return &refused{text: notFound, findings: []string{notFound}}
	}
	if len(text) > appjson.MaxBytes {
		return &refused{text: fmt.Sprintf("%s: it has more than %d bytes", invalid, appjson.MaxBytes)}
	}
	_, has := files[procfile]
	m := manifest{procfile: has}
	m.app, m.found = appjson.Parse(text)
	p, problems := d.s.plan(ctx, m, d.in)
	if len(problems) > 0 {
		e := &refused{text: (&Refusal{problems}).Error()}
		for _, p := range problems {
			e.findings = append(e.findings, short(p.Text))
		}
		return e
	}
	d.in.Plan = &p
	if err := d.s.o.Store.PutSetupInput(ctx, d.v.ID, d.in.seal()); err != nil {
		return err
	}
	return d.change(ctx, func(v *build.Setup) { v.Template.Name, v.Warnings = m.app.Name, p.Warnings })
}

// fetch brings an archive here.
func (d *drive) fetch(ctx context.Context) error {
	o, text := d.s.o, d.v.Source.URL
	if d.in.Query != "" {
		text += "?" + d.in.Query
	}
	u, err := fetch.ParseTarballURL(text)
	if err != nil {
		return err
	}
	want, err := fetch.ParseSum(d.v.Source.Checksum)
	if err != nil {
		return err
	}
	kept, err := o.Sources.Write(ctx, o.ArchiveLimit, func(w io.Writer) error {
		_, err := o.Fetcher.Tarball(ctx, u, want, fetch.Limits{Archive: o.ArchiveLimit}, w)
		return err
	})
	if err != nil {
		return fmt.Errorf("fetch the template: %w", err)
	}
	return d.change(ctx, func(v *build.Setup) {
		v.Source.Stored, v.Source.Checksum, v.Source.URL = string(kept.Key), string(kept.Sum), ""
		v.Template.Checksum = string(kept.Sum)
	})
}
