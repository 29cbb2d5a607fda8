package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
)

// The live view leaves on the screen what the plain view prints: a terminal that is fed its bytes shows the same
// lines, and no status line at the end.
func TestLiveView(t *testing.T) {
	var plain, live bytes.Buffer
	clock := func() string { return "" }
	views := []view{
		&plainView{w: &plain, clock: clock},
		newLiveView(&plainView{clock: clock}, &live),
	}
	bp := cnb.Ref{ID: "sample/app", Version: "1.0.0"}
	for _, v := range views {
		v.Event(platform.Event{Kind: platform.EventPhaseStart, Phase: platform.PhaseBuild})
		v.Event(platform.Event{Kind: platform.EventEngine, Engine: &builder.Event{Kind: builder.EventBuildStart, Buildpack: bp}})
		out, _ := v.Output(platform.PhaseBuild, bp)
		if _, err := out.Write([]byte(strings.Repeat("a long line ", 30) + "\nanother\n")); err != nil {
			t.Fatal(err)
		}
		v.Event(platform.Event{Kind: platform.EventEngine, Engine: &builder.Event{Kind: builder.EventLayerReused, Layer: "x", Buildpack: bp}})
		v.Event(platform.Event{Kind: platform.EventWarning, Text: "mind this\x1b[2J"})
		v.close()
		v.close() // is harmless
		v.result(&platform.Result{Image: "app", Where: platform.WhereStore, Digest: "sha256:0"})
	}
	if got := screen(live.String()); got != plain.String() {
		t.Errorf("the screen has\n%s\nwant\n%s", got, plain.String())
	}
	for _, want := range []string{"===> BUILDING\n", "[sample/app] another\n", "Reusing layer 'sample/app:x'\n", "Warning: mind this\n", "Successfully built image 'app'\n"} {
		if !strings.Contains(plain.String(), want) {
			t.Errorf("%q is missing in\n%s", want, plain.String())
		}
	}
	if !strings.Contains(ansi.Strip(live.String()), "building sample/app@1.0.0") {
		t.Errorf("there was no status line: %q", live.String())
	}
}

// A terminal that became narrower shows the status on several rows: all of them go.
func TestLiveViewNarrower(t *testing.T) {
	var out bytes.Buffer
	l := &liveView{plain: &plainView{clock: func() string { return "" }}, out: &out, phase: platform.PhaseBuild, last: strings.Repeat("x", 100)}
	l.width = func() int { return 60 }
	l.draw("")
	for _, c := range []struct{ width, rows int }{{60, 1}, {40, 2}, {20, 3}, {13, 2}} {
		l.width = func() int { return c.width }
		out.Reset()
		l.draw("a line\n")
		if got := strings.Count(out.String(), eraseLine); got != c.rows {
			t.Errorf("width %d: %d rows erased, want %d: %q", c.width, got, c.rows, out.String())
		}
		l.width = func() int { return 60 }
		if c.width == 20 {
			l.width = func() int { return 20 }
		}
		l.draw("another\n")
	}
}

// screen is what a terminal shows of s: each line as it was last drawn.
func screen(s string) string {
	s = strings.NewReplacer(beginFrame, "", endFrame, "").Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if at := strings.LastIndex(l, eraseLine); at >= 0 {
			lines[i] = l[at+len(eraseLine):]
		}
	}
	return ansi.Strip(strings.Join(lines, "\n"))
}
