package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func s(ns ...float64) (ds []time.Duration) {
	for _, n := range ns {
		ds = append(ds, time.Duration(n*float64(time.Second)))
	}
	return ds
}

func TestMedianAndRatio(t *testing.T) {
	if got := median(s(9, 1, 2)); got != 2*time.Second {
		t.Errorf("median of an odd number = %v", got)
	}
	if got := median(s(4, 1, 2, 9)); got != 3*time.Second {
		t.Errorf("median of an even number = %v", got)
	}
	// A round that was slow for both changes no ratio.
	if got := ratio(s(1, 10, 1), s(2, 20, 2)); got != 0.5 {
		t.Errorf("ratio = %v", got)
	}
	if got := ratio(nil, s(1)); got != 0 {
		t.Errorf("ratio of nothing = %v", got)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		ratio, target float64
		met           bool
		text          string
	}{
		{0.2, 0.25, true, "0.200 x of 0.25: met"},
		{0.25, 0.25, true, "0.250 x of 0.25: met"},
		{0.2504, 0.25, true, "0.250 x of 0.25: met"}, // as it is printed
		{0.2506, 0.25, false, "0.251 x of 0.25: missed"},
		{1.1, 1.1, true, "1.100 x of 1.1: met"},
		{1.2, 1.1, false, "1.200 x of 1.1: missed"},
		{3, 0, true, "3.000 x"}, // no target
	} {
		if v := judge(c.ratio, c.target); v.Met != c.met || v.String() != c.text {
			t.Errorf("judge(%v, %v) = %v, met %v; want %q", c.ratio, c.target, v, v.Met, c.text)
		}
	}
	if v := judge(0, 0.5); v != nil || v.String() != "-" {
		t.Errorf("judge of nothing measured = %v", v)
	}
}

func TestResults(t *testing.T) {
	c := benchCase{number: "9", letter: "Z", title: "a case", toPack: pair(0.5, 0.6), toReference: 0.4, toFloor: 1.1}
	rows := []*row{
		{key: slipwayOCI, name: "slipway, oci runtime", ours: true, times: s(1, 3, 2)},
		{key: slipwayDocker, name: "slipway, docker runtime", ours: true, times: s(1.5, 4.5, 3), floors: []float64{1, 3, 2}, note: "a note"},
		{key: packs, name: "pack", times: s(2, 6, 4)},
		{key: references, name: "reference creator, runc", times: s(2, 6, 4)},
		{name: "the same bytes, tar | cat", times: s(0.001, 0.002, 0.003)},
		{name: "was left out"},
	}
	got := c.results(rows)
	if len(got) != 5 {
		t.Fatalf("%d results: %+v", len(got), got)
	}
	oci, docker := got[0], got[1]
	if oci.Row != "9" || oci.Median != 2 || oci.Min != 1 || oci.Max != 3 || !oci.ToPack.Met || oci.ToReference.Met || oci.ToFloor != nil {
		t.Errorf("oci = %+v, to pack %v, to the reference %v", oci, oci.ToPack, oci.ToReference)
	}
	if docker.ToPack.Met || docker.ToReference.Target != 0 || docker.ToFloor.Ratio != 2 || docker.ToFloor.Met {
		t.Errorf("docker = %+v, to pack %v, to the reference %v", docker, docker.ToPack, docker.ToReference)
	}
	for _, other := range got[2:] {
		if other.ToPack != nil || other.ToReference != nil || other.ToFloor != nil {
			t.Errorf("%s is compared: %+v", other.Tool, other)
		}
	}
	var b bytes.Buffer
	writeSummary(&b, got)
	want := "\n1 of 4 targets met\n" +
		"  row 9, slipway, oci runtime, to the reference: 0.500 x of 0.4: missed\n" +
		"  row 9, slipway, docker runtime, to pack: 0.750 x of 0.6: missed\n" +
		"  row 9, slipway, docker runtime, to the least: 2.000 x of 1.1: missed\n"
	if b.String() != want {
		t.Errorf("summary\n%swant\n%s", &b, want)
	}
	b.Reset()
	if err := writeJSON(&b, got); err != nil {
		t.Fatal(err)
	}
	var back []result
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || len(back) != 5 || *back[0].ToReference != *oci.ToReference || len(back[0].Times) != 3 {
		t.Errorf("JSON back: %+v, %v", back, err)
	}
}

func TestWriteTable(t *testing.T) {
	c := benchCase{number: "9", letter: "Z", title: "a case", toPack: pair(0.5, 0), toReference: 0.4}
	rows := []*row{
		{key: slipwayOCI, name: "slipway", ours: true, times: s(1, 3, 2)},
		{key: packs, name: "pack", times: s(2, 6, 4)},
		{key: references, name: "reference", times: s(2, 6, 4)},
		{name: "cat", times: s(0.001, 0.002, 0.003)},
	}
	var b bytes.Buffer
	writeTable(&b, c.results(rows))
	want := `
9. Z. a case
row             median    min .. max          to pack              to the reference
9    slipway    2.000 s   1.000 s .. 3.000 s  0.500 x of 0.5: met  0.500 x of 0.4: missed
9    pack       4.000 s   2.000 s .. 6.000 s
9    reference  4.000 s   2.000 s .. 6.000 s
9    cat        0.0020 s  0.0010 s .. 0.0030 s
`
	if b.String() != want {
		t.Errorf("table\n%swant\n%s", &b, want)
	}
	b.Reset()
	rows = []*row{{key: slipwayOCI, name: "slipway", ours: true, times: s(1), floors: []float64{1.05}, note: "why"}}
	c.toFloor = 1.1
	writeTable(&b, c.results(rows))
	for _, want := range []string{"to the least", "1.050 x of 1.1: met", "slipway: why"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestStamps(t *testing.T) {
	m := mount{source: t.TempDir()}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(m.source, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := took(m); err == nil {
		t.Error("took without a stamp: no error")
	}
	if _, err := burned(m); err == nil {
		t.Error("burned without a stamp: no error")
	}
	write("took", "1500000\n")
	if d, err := took(m); err != nil || d != 1500*time.Millisecond {
		t.Errorf("took = %v, %v", d, err)
	}
	write("cpu", "0m1.250s 0m0.250s\n1m0.000s 0m0.500s\n") // of the shell, then of its children
	if d, err := burned(m); err != nil || d != 62*time.Second {
		t.Errorf("burned = %v, %v", d, err)
	}
	write("cpu", "nonsense")
	if _, err := burned(m); err == nil {
		t.Error("burned of nonsense: no error")
	}
}

func TestCompressed(t *testing.T) {
	d, err := compressed(bytes.Repeat([]byte("what is new "), 1<<20))
	if err != nil || d <= 0 {
		t.Errorf("compressed = %v, %v", d, err)
	}
}

func TestLoadRatio(t *testing.T) {
	l := load{wall: 11 * time.Second, burn: 15 * time.Second, press: 5 * time.Second}
	if got := l.ratio(2); got != 1.1 {
		t.Errorf("ratio = %v", got)
	}
}

func TestChoose(t *testing.T) {
	for only, want := range map[string]string{"": "1 2 3 4 5 6 6 7 11 S1 S2 S3 S4 W1 W2 I1 I2", "I": "I1 I2", "1,11": "1 11", "b": "2 3 4", "6,A": "1 6 6"} {
		var got []string
		chosen, err := choose(only)
		for _, c := range chosen {
			got = append(got, c.number)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("choose(%q) = %v, %v; want %s", only, got, err, want)
		}
	}
	for _, only := range []string{"12", "1,", "AB"} {
		if _, err := choose(only); err == nil {
			t.Errorf("choose(%q): no error", only)
		}
	}
}

func TestParse(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string { return map[string]string{"SLIPWAY": self, "RUN_IMAGE": "other/run"}[name] }
	o, err := parse([]string{"-pack", "", "-rounds", "3", "-only", "1"}, getenv, &bytes.Buffer{})
	if err != nil || o.slipway != self || o.runImage != "other/run" || o.pack != "" || o.rounds != 3 || o.only != "1" {
		t.Errorf("parse = %+v, %v", o, err)
	}
	for _, args := range [][]string{{"-rounds", "0"}, {"extra"}, {"-slipway", "/nonexistent"}, {"-only", "none"}, {"-reference", t.TempDir()}} {
		if _, err := parse(args, getenv, &bytes.Buffer{}); err == nil {
			t.Errorf("parse(%q): no error", args)
		}
	}
}
