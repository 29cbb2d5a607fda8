package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// pushRun makes the run image of a case.
func (p *place) pushRun(c testCase, repo string) error {
	ref, err := name.ParseReference(repo + "/run")
	if err != nil {
		return err
	}
	layerType, base := types.DockerLayer, mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.DockerManifestSchema2), types.DockerConfigJSON)
	if c.oci {
		layerType, base = types.OCIUncompressedLayer, mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	text := "ID=parity\nVERSION_ID=1\n"
	if err := w.WriteHeader(&tar.Header{Name: "etc/os-release", Mode: 0o644, Size: int64(len(text))}); err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	img, err := mutate.Append(base, mutate.Addendum{
		Layer: static.NewLayer(layer.Bytes(), layerType), MediaType: layerType,
		History: v1.History{CreatedBy: "the run image", Author: "parity", Comment: "kept?"},
	})
	if err != nil {
		return err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Author = "linux", "amd64", "someone"
	cf.Config = v1.Config{
		User: fmt.Sprintf("%d:%d", uid, gid), WorkingDir: "/elsewhere", Entrypoint: []string{"/bin/sh"}, Cmd: []string{"-c", "true"},
		Env:          []string{"PATH=/usr/bin:/bin", "BASE=x", "EMPTY="},
		ExposedPorts: map[string]struct{}{"80/tcp": {}}, Volumes: map[string]struct{}{"/data": {}}, StopSignal: "SIGINT",
		Labels: map[string]string{
			"io.buildpacks.stack.id": "parity", "io.buildpacks.base.distro.name": "parity", "io.buildpacks.base.distro.version": "1",
			"io.buildpacks.rebasable": "true", "own": "label",
		},
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		return err
	}
	return remote.Write(ref, img)
}

// describe writes an image down, one fact a line. Media types of layers are left out: the reference puts layers of
// the Docker type into OCI images.
func describe(img v1.Image) ([]string, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	out := []string{"media type = " + string(m.MediaType), "config media type = " + string(m.Config.MediaType)}
	for k, v := range m.Annotations {
		out = append(out, fmt.Sprintf("annotation %s = %s", k, v))
	}
	var config map[string]any
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, err
	}
	if c, ok := config["config"].(map[string]any); ok {
		labels, _ := c["Labels"].(map[string]any)
		delete(c, "Labels")
		for _, k := range slices.Sorted(maps.Keys(labels)) {
			if err := flattenText("label "+k, fmt.Sprint(labels[k]), &out); err != nil {
				return nil, err
			}
		}
	}
	flatten("config", config, &out)
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	for i, l := range layers {
		if err := entries(l, i, &out); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(out, exempt), nil
}

// entries writes the headers of a layer's tar down, so that a difference between two layers has a name.
func entries(l v1.Layer, n int, out *[]string) error {
	rc, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	r := tar.NewReader(rc)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		*out = append(*out, fmt.Sprintf("layer %d: %c %o %d:%d %q %q %d bytes, %s, %v, %v", n, h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name, h.Linkname, h.Size,
			h.ModTime.UTC().Format(time.RFC3339), h.Format, h.PAXRecords))
	}
}

// exempt tells whether a line says which lifecycle made the image and nothing else.
func exempt(line string) bool {
	return strings.HasPrefix(line, "label io.buildpacks.build.metadata.launcher.")
}

// flatten writes a JSON value down, a line for each leaf. An empty list and one that is not there differ.
func flatten(at string, v any, out *[]string) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			*out = append(*out, at+" = {}")
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			flatten(at+"."+k, v[k], out)
		}
	case []any:
		if len(v) == 0 {
			*out = append(*out, at+" = []")
		}
		for i, e := range v {
			flatten(fmt.Sprintf("%s.%d", at, i), e, out)
		}
	default:
		*out = append(*out, fmt.Sprintf("%s = %q", at, fmt.Sprint(v)))
	}
}
