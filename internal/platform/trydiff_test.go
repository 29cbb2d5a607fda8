package platform

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
)

// TestSince has one change of every kind.
func TestSince(t *testing.T) {
	t.Parallel()
	of := func(version string, l TriedLayer) *Tried {
		return &Tried{Buildpacks: []TriedBuildpack{{Buildpack: cnb.Ref{ID: "a/x", Version: version}, Layers: []TriedLayer{l}}}}
	}
	before := of("1", TriedLayer{Name: "dep", Launch: true, Metadata: map[string]any{"k": "old"}, Listing: agent.Listing{
		Count: 4, Bytes: 30, Env: map[string]string{"env/A": "1"},
		Files: []agent.ListedFile{{Path: "env/A", Size: 1, Sum: "aa"}, {Path: "gone", Size: 9, Sum: "bb"}, {Path: "link", Link: "x"}, {Path: "same", Size: 2, Sum: "cc"}},
	}})
	after := of("2", TriedLayer{Name: "dep", Launch: true, Cache: true, Metadata: map[string]any{"k": "new"}, Listing: agent.Listing{
		Count: 4, Bytes: 21, Env: map[string]string{"env/A": "2"},
		Files: []agent.ListedFile{{Path: "env/A", Size: 1, Sum: "dd"}, {Path: "link", Link: "y"}, {Path: "made", Mode: 0o644, Size: 5, Sum: "0123456789abcdef"}, {Path: "same", Size: 2, Sum: "cc"}},
	}})
	after.Labels = map[string]string{"l": "v"}
	before.Processes = []TriedProcess{{Type: "web"}}
	want := TriedDiff{BytesBefore: 30, Bytes: 21, Changes: []TriedChange{
		{ChangeChanged, "buildpack a/x", "1", "2"},
		{ChangeRemoved, "file a/x:dep/gone", "---------- 9 bytes bb", ""},
		{ChangeChanged, "file a/x:dep/link", "link to x", "link to y"},
		{ChangeAdded, "file a/x:dep/made", "", "-rw-r--r-- 5 bytes 0123456789ab"},
		{ChangeAdded, "label l", "", "v"},
		{ChangeChanged, "layer a/x:dep", "launch=true build=false cache=false", "launch=true build=false cache=true"},
		{ChangeChanged, "metadata a/x:dep k", "old", "new"},
		{ChangeRemoved, "process web", `[] [] direct=false default=false dir="" env=[]`, ""},
		{ChangeChanged, "variable a/x:dep/env/A", "1", "2"},
	}}
	if diff := cmp.Diff(want, after.Since(before)); diff != "" {
		t.Error(diff)
	}
	if same := after.Since(after); !same.Empty() {
		t.Errorf("%+v", same)
	}
}
