package builder

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
)

func TestNeededBases(t *testing.T) {
	extension := cnb.Group{Elements: []cnb.GroupElement{{Ref: cnb.Ref{ID: "e"}, Extension: true}, {Ref: cnb.Ref{ID: "a"}}}}
	known := &cnb.Target{OS: "linux", Arch: "amd64"}
	for _, c := range []struct {
		name  string
		api   int
		group cnb.Group
		run   *cnb.RunImage
		build string
		want  BaseNeeds
	}{
		{name: "before 0.10", api: 9, group: extension, run: &cnb.RunImage{Extend: true}, build: "b"},
		{name: "nothing", api: 15, run: &cnb.RunImage{Target: known}},
		{name: "build image", api: 10, run: &cnb.RunImage{Target: known}, build: "b", want: BaseNeeds{Build: true}},
		{name: "run image is extended", api: 12, group: extension, run: &cnb.RunImage{Extend: true, Target: known}, want: BaseNeeds{Run: true, Look: true}},
		{name: "no extended run image before 0.12", api: 11, group: extension, run: &cnb.RunImage{Extend: true, Target: known}},
		{name: "switched", api: 15, group: extension, run: &cnb.RunImage{}, want: BaseNeeds{Look: true}},
		{name: "half a target", api: 15, group: extension, run: &cnb.RunImage{Target: &cnb.Target{Arch: "arm64"}}, want: BaseNeeds{Look: true}},
		{name: "no target and no extension", api: 15, group: cnb.Group{Elements: extension.Elements[1:]}, run: &cnb.RunImage{}},
		{name: "no run image", api: 15, group: extension, build: "b", want: BaseNeeds{Build: true}},
	} {
		if got := NeededBases(cnb.API{Major: 0, Minor: c.api}, c.group, cnb.Analyzed{RunImage: c.run}, c.build); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestWithRunImage(t *testing.T) {
	before := cnb.Analyzed{RunImage: &cnb.RunImage{Reference: "r", Image: "r", Extend: true}}
	got, err := WithRunImage(cnb.NewestPlatformAPI, before, "r@sha256:1", runImage(t))
	r := got.RunImage
	if err != nil || r.Reference != "r@sha256:1" || r.Image != "r" || !r.Extend || r.Target.Arch != "amd64" || r.Target.Distros[0].Name != "debian" || before.RunImage.Reference != "r" {
		t.Errorf("%+v, %v", r, err)
	}
	if got, err = WithRunImage(cnb.API{Major: 0, Minor: 11}, before, "x", runImage(t)); err != nil || got.RunImage.Target != nil {
		t.Errorf("%+v, %v", got.RunImage, err)
	}
}

// extenderTar makes a tar as an extender would, with times and names of users that must not stay.
func extenderTar(t *testing.T, hs ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range hs {
		h.ModTime, h.Uname, h.Gname = time.Now(), "root", "root"
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func opener(b []byte, end error) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		if end != nil {
			return io.NopCloser(io.MultiReader(bytes.NewReader(b), failing{end})), nil
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestExportExtended(t *testing.T) {
	entries := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "usr/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "usr/sudo", Mode: 0o4755, Size: 3},
		{Typeflag: tar.TypeReg, Name: "usr/.wh.old", Mode: 0o644},
		{Typeflag: tar.TypeSymlink, Name: "usr/l", Linkname: "/etc/x", Mode: 0o777},
		{Typeflag: tar.TypeReg, Name: "cap", Mode: 0o755, Uid: 7, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}},
	}
	b := sample(t)
	plain := b.export(t, nil)
	extended := func(in *ExportInput) {
		in.Extended = []ExtendedLayer{
			{Index: 2, CreatedBy: "Layer: 'RUN a', Created by extension: v/e", Open: opener(extenderTar(t, entries...), nil)},
			{Index: 3, CreatedBy: "RUN b", Open: opener(extenderTar(t), nil)},
		}
	}
	ex := b.export(t, extended)
	if again := b.export(t, extended); !slices.Equal(again.Layers, ex.Layers) {
		t.Error("another time, other layers")
	}
	if len(ex.Layers) != len(plain.Layers)+2 || ex.Layers[0].ID != "v/e:extended-layer-2" || ex.Layers[1].ID != "from extensions:extended-layer-3" || !slices.Equal(ex.Layers[2:], plain.Layers) {
		t.Errorf("layers %+v", ex.Layers)
	}
	layer, err := b.sink.Get(ex.Layers[0].DiffID)
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	tr := tar.NewReader(rc)
	for _, want := range entries {
		h, err := tr.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != want.Name || h.Mode != want.Mode || h.Uid != want.Uid || h.Linkname != want.Linkname || h.Size != want.Size || !h.ModTime.Equal(LayerTime()) || h.Uname != "" {
			t.Errorf("entry %+v, want %+v", h, want)
		}
		if want.PAXRecords != nil && h.PAXRecords["SCHILY.xattr.user.a"] != "b" {
			t.Errorf("%s: records %v", h.Name, h.PAXRecords)
		}
	}

	run := runImage(t)
	img, err := Compose(ComposeInput{
		Run: run, RunReference: "example.com/run:1", Exported: ex, Layer: b.sink.Get,
		Extended: &v1.Config{User: "1:2", Env: []string{"PATH=/more", "NEW=1"}, Labels: map[string]string{cnb.LabelRebasable: "false", "from": "extension"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	cf := config(t, img)
	if c := cf.Config; c.User != "1:2" || c.Labels[cnb.LabelRebasable] != "false" || c.Labels["from"] != "extension" || !slices.Contains(c.Env, "NEW=1") || !slices.Contains(c.Env, "PATH=/cnb/process:/cnb/lifecycle:/more") {
		t.Errorf("config %+v", c)
	}
	base := config(t, run).RootFS.DiffIDs
	if !slices.Equal(cf.RootFS.DiffIDs[:2], base) || cf.RootFS.DiffIDs[2].String() != ex.Layers[0].DiffID || cf.History[2].CreatedBy != "Layer: 'RUN a', Created by extension: v/e" {
		t.Errorf("layers %v, history %+v", cf.RootFS.DiffIDs, cf.History)
	}
	if md := cf.Config.Labels[cnb.LabelLifecycleMetadata]; !strings.Contains(md, `"topLayer":"`+base[1].String()) {
		t.Errorf("metadata %s", md)
	}
}

func TestExportExtendedRefuses(t *testing.T) {
	good := extenderTar(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 10})
	for name, c := range map[string]struct {
		open func() (io.ReadCloser, error)
		want string
	}{
		"no tar":       {opener([]byte(strings.Repeat("x", 2000)), nil), "invalid tar header"},
		"cut off":      {opener(good[:515], nil), `"a" became shorter`},
		"bad end":      {opener(good, errors.New("its content differs from its digest")), "its content differs from its digest"},
		"beyond limit": {opener(extenderTar(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 2000}), nil), "larger than the limit"},
	} {
		b := sample(t)
		in := b.input()
		in.Limits = Limits{Bytes: 1000}
		in.Extended = []ExtendedLayer{{Index: 1, CreatedBy: "Layer: 'x', Created by extension: e", Open: c.open}}
		_, err := Export(t.Context(), in, b.sink)
		if err == nil || !strings.Contains(err.Error(), "write layer e:extended-layer-1: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
