package killpoint_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/internal/killpoint"
)

// TestMain is also the process that dies: it passes a point three times and counts.
func TestMain(m *testing.M) {
	if os.Getenv("KILLPOINT_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	for range 3 {
		killpoint.Here(killpoint.Claimed)
		killpoint.Here(killpoint.LogBegun)
		fmt.Print(".")
	}
}

func TestHere(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		set, out string
		dies     bool
	}{
		{"", "...", false},
		{"settled", "...", false},
		{"claimed", "", true},
		{"log-begun:2", ".", true},
		{"claimed:3", "..", true},
		{"claimed:4", "...", false},
		{"claimed:x", "", true},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "KILLPOINT_TEST_CHILD=1", killpoint.Variable+"="+tc.set)
		out, err := cmd.Output()
		exit, died := errors.AsType[*exec.ExitError](err)
		if died != tc.dies || died && exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || string(out) != tc.out {
			t.Errorf("%q: it printed %q and ended with %v", tc.set, out, err)
		}
	}
}

// TestAll: the list has every constant, once, or a test of all points would leave some out.
func TestAll(t *testing.T) {
	t.Parallel()
	f, err := parser.ParseFile(token.NewFileSet(), "killpoint.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []killpoint.Point
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := v.Type.(*ast.Ident); ok && kind.Name == "Point" {
			text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, killpoint.Point(text))
		}
		return true
	})
	if all := killpoint.All(); !slices.Equal(all, declared) || len(all) < 15 {
		t.Errorf("All:\n%q\nthe constants:\n%q", all, declared)
	}
	if sorted := slices.Sorted(slices.Values(declared)); len(slices.Compact(sorted)) != len(declared) {
		t.Error("two points have one name")
	}
}
