package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// classicDir is where the classic buildpack lies in the converted one.
const classicDir = "classic"

// detect asks bin/detect. Whatever it ends with but 0 is a no, as it always was; that it cannot be run is an error.
func detect(ctx context.Context, c libcnb.DetectContext, w parcel.Work) (libcnb.DetectResult, error) {
	dir := filepath.Join(c.Buildpack.Path, classicDir)
	cmd := parcel.Command{Path: filepath.Join(dir, "bin", "detect"), Args: []string{c.ApplicationPath}, Dir: dir, Env: environment(w.Env, c.Platform.Environment, c.ApplicationPath)}
	out, err := cmd.Run(ctx)
	said := lastLine(string(out))
	if e, ok := errors.AsType[*parcel.CommandError](err); ok && e.Code > 0 && e.Code < 126 {
		said = cmp.Or(said, lastLine(e.Tail), fmt.Sprintf("bin/detect ended with exit code %d", e.Code))
		return w.Fail(said)
	} else if ok {
		return libcnb.DetectResult{}, broken("bin/detect", e)
	}
	if err != nil {
		return libcnb.DetectResult{}, parcel.Ours("look at its first line, which names its interpreter", "bin/detect of the classic buildpack cannot be run: %w", err)
	}
	return w.Pass(cmp.Or(said, "bin/detect says yes"))
}

// broken is an executable that was killed, or that the shell could not run.
func broken(what string, e *parcel.CommandError) error {
	return parcel.Ours("look at what it printed", "%s of the classic buildpack ended with exit code %d (%s)", what, e.Code, cmp.Or(lastLine(e.Tail), "it printed nothing"))
}

// environment is what a classic buildpack finds beside its arguments. Config vars are none of it: it reads them from ENV_DIR.
func environment(env parcel.Env, vars map[string]string, app string) parcel.Env {
	e := env.With("HOME="+app, "STACK="+stack(env, vars), "REQUEST_ID="+requestID())
	for _, name := range passed() {
		if v := vars[name]; v != "" {
			e[name] = v
		}
	}
	return e
}

// passed are the variables of the platform that are no config vars of the app: what is built, and how others are reached.
func passed() []string {
	return []string{
		"SOURCE_VERSION", "REQUEST_ID",
		"SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CARGO_HTTP_CAINFO",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	}
}

// stack is the name of the generation of base images, which decides what many buildpacks download: one that was set, the
// builder's own where it has such a name, else that of the newest Ubuntu whose C library is not newer than the target's.
func stack(env parcel.Env, vars map[string]string) string {
	for _, s := range []string{vars["STACK"], env["STACK"], env["CNB_STACK_ID"]} {
		if s != "" && (s != env["CNB_STACK_ID"] || strings.HasPrefix(s, "heroku-")) {
			return s
		}
	}
	switch env["CNB_TARGET_DISTRO_NAME"] + " " + env["CNB_TARGET_DISTRO_VERSION"] {
	case "ubuntu 20.04", "debian 11":
		return "heroku-20"
	case "ubuntu 22.04", "debian 12":
		return "heroku-22"
	}
	return "heroku-24"
}

// requestID is that of this boot of the container: one build, one id.
func requestID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		return "00000000-0000-0000-0000-000000000000"
	}
	return strings.TrimSpace(string(b))
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
