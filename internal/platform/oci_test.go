package platform_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// withDocker are the tests that are run again with Docker: those about what a build may do, what comes of it, and what
// is left. Where a password comes from is no matter of the runtime: TestCanary has one of its three places with both.
const withDocker = "^(TestSameEverywhere|TestSameAfterCancel|TestLeavesNothing|TestSideBySide|TestSemantics.*|TestPlaceAndOwner|TestTrust|TestUsersOwn)$|^TestCanary$/^docker_config$"

// TestWithDocker runs tests of this binary with Docker, where the others have an OCI runtime.
func TestWithDocker(t *testing.T) {
	y := open(t)
	if testRuntime() == platform.RuntimeDocker {
		return // they all have it
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.timeout=15m", "-test.run", withDocker)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), yardVariable+"="+y.dir, runtimeVariable+"="+platform.RuntimeDocker)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestSameEverywhere")) {
		t.Errorf("with Docker: %v\n%s", err, out)
	}
}

// TestChoice: which runtime is taken, and what is said where there is none.
func TestChoice(t *testing.T) {
	t.Parallel()
	y := open(t)
	for _, tc := range []struct {
		runtime  string
		noDocker bool
		root     string // what root gets: oci, docker, or the reason why nothing
		ordinary string
	}{
		{"", false, "oci", "docker"},
		{"auto", true, "oci", "no container runtime"},
		{"oci", true, "oci", "needs root"},
		{"docker", false, "docker", "docker"},
		{"docker", true, "no container runtime", "no container runtime"},
		{"oci:absent", false, `"absent" is not there`, "needs root"},
	} {
		m, err := platform.Open(t.Context(), platform.Settings{State: t.TempDir(), Tools: y.tools(), Docker: dockerOptions(), NoDocker: tc.noDocker, Runtime: tc.runtime, Registry: image.RegistryOptions{}})
		if err != nil {
			t.Fatal(err)
		}
		want := tc.ordinary
		if os.Geteuid() == 0 {
			want = tc.root
		}
		got := "oci"
		switch {
		case m.Runtime == nil:
			got = m.NoRuntime.Error()
		case m.Roots == nil:
			got = "docker"
		}
		if !strings.Contains(got, want) || strings.Contains(got, "\n") || m.Runtime != nil && m.Why == "" {
			t.Errorf("runtime %q, no Docker %v: got %q (%s), want %q", tc.runtime, tc.noDocker, got, m.Why, want)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := platform.Open(t.Context(), platform.Settings{State: t.TempDir(), Runtime: "podman"}); err == nil {
		t.Error("an unknown runtime is no error")
	}
}
