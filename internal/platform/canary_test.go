package platform_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/platform/platformtest"
)

// The password of the canary tests. It is in no argument, so that nobody reads it in this process's own
// command line.
const canary = "c4n4ry-Pa55word-bY-slipway"

// spill looks for the password in all it can read, and tells of its own powers.
const spill = `
look() {
	echo "uid $(id -u) gid $(id -g)"
	grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | tr '\t' ' '
	env
	for p in /proc/[0-9]*; do
		tr '\0' '\n' <$p/cmdline || true
		tr '\0' '\n' <$p/environ || echo "$p: no environ"
		for f in $p/fd/*; do
			ls -l $f || true
			[ -f $f ] && head -c 1000000 $f || true
		done
		head -c 4096 $p/mem || true
		cat $p/maps $p/mountinfo $p/root/etc/hostname || true
	done
	for s in /var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock; do [ -e $s ] && echo "SOCKET $s" || true; done
	cat /proc/net/unix || true
	cat ~/.docker/config.json /root/.docker/config.json || true
	find / -xdev -type f -size -64k -not -path '/proc/*' -not -path '/sys/*' -not -path '/usr/*' -exec cat {} + || true
	for m in /workspace /layers /platform /slipway /cnb /tmp /etc; do find $m -type f -exec cat {} + || true; done
	find / -type s || true
}
mkdir -p "$CNB_LAYERS_DIR/seen"
look >"$CNB_LAYERS_DIR/seen/all" 2>&1
cat "$CNB_LAYERS_DIR/seen/all"
printf '[types]\nlaunch = true\nbuild = true\ncache = true\n' >"$CNB_LAYERS_DIR/seen.toml"
`

// TestCanary publishes with a password from each place that a password may come from, and looks for it
// everywhere a buildpack, a reader of the log or a user of the image could.
func TestCanary(t *testing.T) {
	t.Parallel()
	y := open(t)
	host := registry(t, canary)
	basic := base64.StdEncoding.EncodeToString([]byte("robot:" + canary))
	for _, from := range []string{"docker config", "credential helper", "CNB_REGISTRY_AUTH"} {
		t.Run(from, func(t *testing.T) {
			dir := t.TempDir()
			config := filepath.Join(dir, "config.json")
			opts := image.RegistryOptions{DockerConfig: config, Env: []string{"HOME=" + dir, "PATH=" + dir + ":" + os.Getenv("PATH")}}
			switch from {
			case "docker config":
				write(t, dir, 0o600, "config.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, basic))
			case "credential helper":
				write(t, dir, 0o700, "docker-credential-test", fmt.Sprintf("#!/bin/sh\ncat >/dev/null\necho '{\"ServerURL\":\"%s\",\"Username\":\"robot\",\"Secret\":\"%s\"}'\n", host, canary))
				write(t, dir, 0o600, "config.json", fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, host))
			default:
				auth, _ := json.Marshal(map[string]string{host: "Basic " + basic})
				opts.Env = append(opts.Env, "CNB_REGISTRY_AUTH="+string(auth))
			}
			m, err := machine(filepath.Join(dir, "state"), y.tools(), opts)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			o := platform.Options{
				Image: host + "/" + name(t), Output: platform.Output{Publish: true}, Builder: y.oci("builder"), RunImage: y.oci("run"),
				Source: app(t), Buildpacks: []string{script(t, "test/spill", spill)},
				Cache: platform.Cache{Image: host + "/cache"}, SBOMDir: filepath.Join(dir, "sbom"), ReportDir: filepath.Join(dir, "report"),
			}
			all := &search{what: [][]byte{[]byte(canary), []byte(basic)}}
			for range 2 { // the second restores what the first kept
				res, r := y.buildOn(t, m, o)
				fmt.Fprintf(all, "%s%+v", r, res)
				checkPowers(t, r.String())
			}
			for _, arg := range []string{o.Image, o.Cache.Image} {
				ref, _ := image.ParseRef(arg)
				img, err := m.Registry.Image(t.Context(), ref, v1.Platform{})
				if err != nil {
					t.Fatal(err)
				}
				everything(t, img, all)
			}
			for _, d := range []string{"state", "sbom", "report"} {
				readAll(t, filepath.Join(dir, d), all)
			}
			for _, seen := range all.found {
				t.Errorf("the password is seen: ...%q", seen)
			}
			if all.read < 10<<20 {
				t.Errorf("looked at %d bytes only", all.read)
			}
		})
	}
}

// checkPowers reads what the buildpack could do: nothing.
func checkPowers(t *testing.T, log string) {
	t.Helper()
	for _, want := range []string{
		fmt.Sprintf("uid %d gid %d\n", platformtest.User, platformtest.Group), "NoNewPrivs: 1\n", "Seccomp: 2\n", "CapInh: 0000000000000000\n", "CapPrm: 0000000000000000\n",
		"CapEff: 0000000000000000\n", "CapBnd: 0000000000000000\n", "CapAmb: 0000000000000000\n",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the buildpack did not see %q", want)
		}
	}
	for _, want := range []string{"OF_OPERATOR=plain", "\nhello\n", "/cnb/slipway/agent"} { // it did look
		if !strings.Contains(log, want) {
			t.Errorf("the buildpack looked for nothing: %q is not there", want)
		}
	}
	if strings.Contains(log, "SOCKET /") {
		t.Error("the buildpack sees an engine's socket")
	}
}

// A search looks for words in all that is written to it, also where one comes in two writes.
type search struct {
	what  [][]byte
	last  []byte // the end of what came before
	found [][]byte
	read  int64
}

func (s *search) Write(p []byte) (int, error) {
	s.read += int64(len(p))
	s.look(append(s.last, p[:min(len(p), searchContext)]...)) // a word across the two, or early in p
	if len(p) > searchContext {
		s.look(p)
	}
	s.last = append(s.last, p[max(0, len(p)-searchContext):]...)
	s.last = slices.Clone(s.last[max(0, len(s.last)-searchContext):])
	return len(p), nil
}

// searchContext is more than a word has, and what an error shows of what is before it.
const searchContext = 300

func (s *search) look(b []byte) {
	for _, w := range s.what {
		if at := bytes.Index(b, w); at >= 0 {
			s.found = append(s.found, slices.Clone(b[max(0, at-searchContext):at+len(w)]))
		}
	}
}

// TestSearch finds a word wherever the writes cut it, and none where there is none.
func TestSearch(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 1, 299, 300, 301, 1000} {
		text := strings.Repeat("-", before) + canary + strings.Repeat("-", before)
		for size := 1; size <= len(text); size += 7 {
			for word, want := range map[string]bool{canary: true, canary + "x": false} {
				s := &search{what: [][]byte{[]byte(word)}}
				for piece := range slices.Chunk([]byte(text), size) {
					_, _ = s.Write(piece)
				}
				if found := len(s.found) > 0; found != want || s.read != int64(len(text)) {
					t.Fatalf("%d before, pieces of %d: found %v in %d bytes, want %v", before, size, found, s.read, want)
				}
			}
		}
	}
}

// everything has all bytes of an image: manifest, config, layers unpacked.
func everything(t *testing.T, img *image.Image, to io.Writer) {
	t.Helper()
	for _, f := range []func() ([]byte, error){img.RawManifest, img.RawConfigFile} {
		b, err := f()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = to.Write(b)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(to, r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
}

// readAll has every file below dir.
func readAll(t *testing.T, dir string, to io.Writer) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		_, _ = to.Write(b)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
