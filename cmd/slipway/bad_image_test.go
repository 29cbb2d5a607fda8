package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
)

// notBuilding is what an error that is found before the build must not come after.
var notBuilding = []string{"===> DETECTING", "===> BUILDING"}

func badImages(t *testing.T, y *yard) {
	arm := y.relabelled(t, func(cf *v1.ConfigFile) { cf.Architecture = "s390x" })
	windows := y.relabelled(t, func(cf *v1.ConfigFile) { cf.OS = "windows" })
	garbled := y.relabelled(t, func(cf *v1.ConfigFile) { cf.Config.Labels[cnb.LabelBuilderMetadata] = "{" })
	empty := y.relabelled(t, func(cf *v1.ConfigFile) {
		cf.Config.Labels[cnb.LabelBuilderMetadata] = "{}"
		cf.Config.Env = []string{"PATH=/bin"}
	})
	denied := deniedRegistry(t)
	y.try(t,
		bad{name: "run image missing", args: []string{"--run-image", "127.0.0.1:1/nowhere/run"}, code: 1, says: []string{"run image", "127.0.0.1:1/nowhere/run"}, hides: notBuilding},
		bad{name: "run image never pulled", args: []string{"--run-image", y.prefix + "/other", "--pull-policy", "never"}, code: 1, says: []string{"run image", y.prefix + "/other"}, hides: notBuilding},
		bad{name: "run image not allowed", args: []string{"--run-image", denied + "/private/run"}, code: 1, says: []string{"run image", denied + "/private/run", "denies access"}, hides: notBuilding},
		bad{name: "run image of another architecture", args: []string{"--run-image", arm}, code: 1, says: []string{"run image", "s390x"}, hides: notBuilding},
		bad{name: "run image of another system", args: []string{"--run-image", windows}, code: 1, says: []string{"run image", "windows"}, hides: notBuilding},
		bad{name: "builder missing", args: []string{"--builder", "127.0.0.1:1/nowhere/builder"}, code: 1, says: []string{"builder", "127.0.0.1:1/nowhere/builder"}, hides: notBuilding},
		bad{name: "builder is none", args: []string{"--builder", "oci:" + y.base}, code: 1, says: []string{y.base, "not a builder"}, hides: notBuilding},
		bad{name: "builder has a garbled label", args: []string{"--builder", garbled}, code: 1, says: []string{"builder", cnb.LabelBuilderMetadata}, hides: notBuilding},
		bad{name: "builder has no user", args: []string{"--builder", empty}, code: 1, says: []string{"builder", "CNB_USER_ID"}, hides: notBuilding},
		bad{name: "name of the builder", args: []string{"--name", y.builder}, code: 1, says: []string{y.builder, "builder itself"}, hides: notBuilding},
		bad{name: "tag of the builder", args: []string{"--tag", y.builder + ":latest"}, code: 1, says: []string{y.builder, "builder itself"}, hides: notBuilding},
		bad{name: "name of the run image", args: []string{"--name", y.runImage}, code: 1, says: []string{y.runImage, "run image itself"}, hides: notBuilding},
		bad{name: "name of a mirror", args: []string{"--name", "127.0.0.1:1/mirror/run"}, code: 1, says: []string{"127.0.0.1:1/mirror/run", "run image itself"}, hides: notBuilding},
		bad{name: "no image name", args: []string{"--name", "NAME/UPPER case"}, code: 3, says: []string{"UPPER case"}, hides: notBuilding},
		bad{name: "default process", args: []string{"--default-process", "worker"}, code: 62, says: []string{`"worker"`, "web"}},
	)
	t.Run("every mirror is named", func(t *testing.T) {
		t.Parallel()
		w := y.work(t)
		if code, _, stderr := w.slipway(nil, "config", "run-image-mirrors", "127.0.0.1:1/a/run", "127.0.0.1:1/b/run", denied+"/c/run"); code != 0 {
			t.Fatal(stderr)
		}
		code, stdout, stderr := w.build(nil, "--run-image", "127.0.0.1:1/a/run")
		line := errorLine(t, stderr, w.home)
		t.Logf("exit %d\n%s", code, line)
		for _, name := range []string{"127.0.0.1:1/a/run", "127.0.0.1:1/b/run", denied + "/c/run"} {
			if code != 1 || strings.Count(line, name) != 1 || strings.Contains(stdout, "===> DETECTING") {
				t.Errorf("exit code %d, want 1 and %s once\n%s%s", code, name, stdout, stderr)
			}
		}
		w.nothingLeft()
		w.good()
	})
}

// deniedRegistry lets nobody in.
func deniedRegistry(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}
