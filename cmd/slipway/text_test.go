package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

func TestTexts(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, c := range [][2]string{
		{ageText(time.Unix(315532801, 0).UTC(), now), "-"}, {ageText(now.Add(-30*time.Second), now), "now"},
		{ageText(now.Add(-90*time.Minute), now), "1 h ago"}, {ageText(now.AddDate(0, 0, -3), now), "3 days ago"},
		{nearest("buidl", []string{"build", "run"}), "build"}, {nearest("zzz", []string{"build"}), ""}, {nearest("pub", []string{"publish"}), "publish"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}

// TestInspectedText shows images that say of themselves what would command a terminal or forge a line.
func TestInspectedText(t *testing.T) {
	const evil = "x\x1b]0;title\x07\u009b2J\nforged\t."
	ref := cnb.Ref{ID: evil, Version: evil}
	var out bytes.Buffer
	inspected{
		Image: evil, Platform: evil, User: evil, WorkingDir: evil, ExecEnv: evil, Built: true,
		Buildpacks: []buildpackRef{{ref.ID, evil, evil}}, Processes: []process{{Type: evil, Command: []string{evil}, WorkingDir: evil}},
		Layers: []inspectedLayer{{What: evil}}, Labels: map[string]string{evil: evil},
	}.human(&out, true)
	b := &inspectedBuilder{
		Name: evil, Description: evil, StackID: evil, CreatedBy: cnb.Creator{Name: evil}, RunImages: []cnb.BuilderRunImage{{Image: evil}},
		Buildpacks: []cnb.ModuleInfo{{ID: ref.ID, Version: evil, Name: evil, Homepage: evil}}, Order: cnb.Order{{Elements: []cnb.GroupElement{{Ref: ref}}}},
	}
	b.human(&out)
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "forged") || strings.ContainsFunc(line, func(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 }) {
			t.Errorf("written: %q", line)
		}
	}
}
