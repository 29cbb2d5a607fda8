package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

const (
	serverName  = "static-server"
	defaultPort = "8080"
)

// build puts the server into a launch layer and names the process that serves the app's directory.
func build(_ context.Context, c libcnb.BuildContext, w parcel.Work) (libcnb.BuildResult, error) {
	conf, err := readConfig(c.ApplicationPath, w.Env)
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	if conf.Root == "" {
		conf.Root = findRoot(c.ApplicationPath)
	}
	if info, err := os.Stat(filepath.Join(c.ApplicationPath, conf.Root)); conf.Root == "" || err != nil || !info.IsDir() {
		return libcnb.BuildResult{}, parcel.Yours("name the directory that the build script writes, or add a build script",
			"%s names the directory %q, which does not exist after the build", conf.where, conf.Root)
	}
	if !isFile(filepath.Join(c.ApplicationPath, conf.Root, "index.html")) {
		w.Sayf("WARNING: %s has no index.html; / will answer 404", conf.Root)
	}
	layer, err := contributeServer(c, w)
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	command := []string{filepath.Join(layer.Path, "bin", serverName), "-root", filepath.Join(c.ApplicationPath, conf.Root)}
	if conf.SPA {
		command = append(command, "-spa")
	}
	w.Sayf("serving %s%s", conf.Root, map[bool]string{true: " as a single-page app"}[conf.SPA])
	result := libcnb.NewBuildResult()
	result.Layers = []libcnb.Layer{layer}
	result.Processes = []libcnb.Process{{Type: "web", Command: command, Default: true}}
	return result, nil
}

// contributeServer copies this buildpack's own binary; the layer is keyed on its bytes and comes back from
// the previous image without them.
func contributeServer(c libcnb.BuildContext, w parcel.Work) (libcnb.Layer, error) {
	layer, err := c.Layers.Layer("server")
	if err != nil {
		return layer, err
	}
	self := filepath.Join(c.Buildpack.Path, "bin/main")
	binary, err := parcel.FileKey(self, 256<<20)
	if err != nil || binary == "" {
		return layer, fmt.Errorf("read %s: %w", self, err)
	}
	key := parcel.KeyOf("server 1", binary)
	if parcel.Fresh(layer, key) {
		w.Sayf("web server %s: reused", c.Buildpack.Info.Version)
	} else {
		w.Sayf("web server %s", c.Buildpack.Info.Version)
		if layer, err = layer.Reset(); err != nil {
			return layer, err
		}
		if err := os.MkdirAll(filepath.Join(layer.Path, "bin"), 0o755); err != nil {
			return layer, err
		}
		to := filepath.Join(layer.Path, "bin", serverName)
		if err := parcel.CopyFile(self, to); err != nil {
			return layer, err
		}
		if err := os.Chmod(to, 0o755); err != nil {
			return layer, err
		}
		parcel.Note(&layer, key, nil)
		layer.LaunchEnvironment.Default("PORT", defaultPort)
	}
	layer.LayerTypes = libcnb.LayerTypes{Launch: true}
	return layer, parcel.WriteSBOM(layer.SBOMPath(libcnb.CycloneDXJSON), c.Buildpack, []parcel.Component{{
		Name: "slipway-" + serverName, Version: c.Buildpack.Info.Version, License: "Apache-2.0", App: true,
		PURL: "pkg:generic/slipway-" + serverName + "@" + c.Buildpack.Info.Version,
	}})
}
