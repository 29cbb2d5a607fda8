package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
)

// view makes of an image in the registry what cases compare with: plain maps, lists and strings.
//
//	exists, digest, created, os, architecture, variant, user, dir, entrypoint, cmd
//	env        variable = value
//	labels     label = text
//	json       label = what is in it, where that is JSON
//	history    what each layer says of itself
//	diff-ids   of each layer
//	on         names of the case's images whose layers it begins with
//	own        number of layers above the run image
//	files      path = file, of all layers, the last one with that path; directories too
//	holding    path = the last layer with that path: number (from 0), diff-id, files
//
// A file is type, mode, uid, gid, uname, gname, mtime, link and text. Paths begin with a slash.
func (r *root) view(ref string) (map[string]any, error) {
	image, err := r.reg.pull(ref)
	if err != nil {
		return nil, err
	}
	if image == nil {
		return map[string]any{"exists": false}, nil
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	v := map[string]any{
		"exists": true, "digest": digest.String(), "created": config.Created.UTC().Format(time.RFC3339),
		"os": config.OS, "architecture": config.Architecture, "variant": config.Variant,
		"user": config.Config.User, "dir": config.Config.WorkingDir,
		"entrypoint": list(config.Config.Entrypoint), "cmd": list(config.Config.Cmd),
	}
	env := map[string]any{}
	for _, kv := range config.Config.Env {
		key, value, _ := strings.Cut(kv, "=")
		env[key] = value
	}
	v["env"] = env
	labels, parsed := map[string]any{}, map[string]any{}
	for key, text := range config.Config.Labels {
		labels[key] = text
		var value any
		if json.Unmarshal([]byte(text), &value) == nil {
			parsed[key] = value
		}
	}
	v["labels"], v["json"] = labels, parsed
	var history []any
	for _, h := range config.History {
		history = append(history, h.CreatedBy)
	}
	v["history"] = history
	if err := r.viewBase(v, config.RootFS.DiffIDs); err != nil {
		return nil, err
	}
	return v, viewLayers(v, image)
}

func list(words []string) []any {
	all := []any{}
	for _, w := range words {
		all = append(all, w)
	}
	return all
}

// viewBase finds which of the case's images this one stands on.
func (r *root) viewBase(v map[string]any, ids []v1.Hash) error {
	var texts []string
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	v["diff-ids"] = list(texts)
	on, own := []any{}, len(ids)
	names := slices.Sorted(maps.Keys(r.c.Images))
	if !slices.Contains(names, "run") {
		names = append(names, "run")
	}
	for _, name := range names {
		base, err := r.c.image(name).make()
		if err != nil {
			return err
		}
		config, err := base.ConfigFile()
		if err != nil {
			return err
		}
		n := len(config.RootFS.DiffIDs)
		if n <= len(ids) && slices.Equal(config.RootFS.DiffIDs, ids[:n]) {
			on = append(on, name)
			own = min(own, len(ids)-n)
		}
	}
	v["on"], v["own"] = on, own
	return nil
}

func viewLayers(v map[string]any, image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	all, holding := map[string]any{}, map[string]any{}
	for n, l := range layers {
		id, err := l.DiffID()
		if err != nil {
			return err
		}
		content, err := l.Uncompressed()
		if err != nil {
			return err
		}
		files, err := viewTar(content)
		if err := errors.Join(err, content.Close()); err != nil {
			return fmt.Errorf("layer %d: %w", n, err)
		}
		layer := map[string]any{"number": n, "diff-id": id.String(), "files": files}
		for path, file := range files {
			all[path], holding[path] = file, layer
		}
	}
	v["files"], v["holding"] = all, holding
	return nil
}

func viewTar(content io.Reader) (map[string]any, error) {
	files := map[string]any{}
	t := tar.NewReader(content)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		f := map[string]any{
			"mode": fmt.Sprintf("%04o", h.Mode&0o7777), "uid": h.Uid, "gid": h.Gid, "uname": h.Uname, "gname": h.Gname,
			"mtime": h.ModTime.UTC().Format(time.RFC3339),
		}
		switch h.Typeflag {
		case tar.TypeDir:
			f["type"] = "dir"
		case tar.TypeSymlink:
			f["type"], f["link"] = "link", h.Linkname
		case tar.TypeLink:
			f["type"], f["link"] = "hardlink", "/"+strings.TrimPrefix(h.Linkname, "/")
		case tar.TypeReg:
			f["type"] = "file"
			text, err := io.ReadAll(io.LimitReader(t, 1<<16))
			if err != nil {
				return nil, err
			}
			f["text"] = string(text)
		default:
			f["type"] = fmt.Sprintf("%c", h.Typeflag)
		}
		files["/"+strings.Trim(h.Name, "/")] = f
	}
}
