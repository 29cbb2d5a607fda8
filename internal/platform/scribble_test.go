package platform_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
)

// scribbles is 100 where somebody wants to know for sure; scribbleSeed repeats a run.
var (
	scribbles    = flag.Int("scribble.scripts", 3, "random scripts that TestMountedEqualsCopied has a buildpack run on restored layers")
	scribbleSeed = flag.Uint64("scribble.seed", rand.Uint64(), "seed of those scripts")
)

// A scribbler writes scripts that do at random what buildpacks do to the layers of keeps. What a script does depends on
// the files alone; a command that cannot be done is passed over.
type scribbler struct{ *rand.Rand }

func (s scribbler) one(of ...string) string { return of[s.IntN(len(of))] }

// path is one that keeps makes, or one that a script may have made.
func (s scribbler) path() string {
	p := s.one("one", "two", "three")
	switch s.IntN(6) {
	case 0:
		return p
	case 1:
		return p + "/" + s.name()
	case 2:
		return p + "/" + s.one("a", "b", "c")
	case 3:
		return p + "/" + s.one("a", "b", "c") + "/" + s.one("deep", "deep/link", s.name())
	}
	return p + "/" + s.one("a", "b", "c") + "/" + s.one("1", "2", "3", "4")
}

func (s scribbler) name() string { return fmt.Sprintf("n%d", s.IntN(4)) }

func (s scribbler) command() string {
	p, q := s.path(), s.path()
	a, b := s.one("one", "two", "three"), s.one("one", "two", "three")
	return s.one(
		"rm -rf "+p, "rm -f "+p, "rm -rf "+p+"/*",
		"mv "+p+" "+q, "mv -T "+p+" "+q, "mv "+p+" "+q+"/"+s.name(), "mv "+p+" x && mv x "+p,
		"mv "+a+" x && mv "+b+" "+a+" && mv x "+b,
		"chmod "+s.one("644", "755", "700", "4755", "600", "555")+" "+p, "chmod -R go-r "+p, "chmod "+s.one("755", "711")+" .",
		"ln "+p+" "+q, "ln "+p+" "+q+"/"+s.name(), "ln -sfn ../"+s.name()+" "+p, "ln -s nowhere "+p+"/"+s.name(),
		"echo scribbled >"+p, "echo more >>"+p, "touch "+p, "mkdir -p "+p+"/"+s.name()+"/"+s.name(),
		// Of a directory that is copied into itself cp takes what it happens to read before it notices.
		"case $(realpath -m "+q+")/ in $(realpath -m "+p+")/*) ;; *) cp -r "+p+" "+q+" ;; esac", "cp -r "+p+" x && rm -rf "+p+" && mv x "+p, "cp "+p+" x && mv x "+p,
	)
}

// script ends with layers that are directories, others are no layers and no build, and with nothing of its own: a copy
// of a directory that may not be written can only be removed when its modes are changed.
func (s scribbler) script() string {
	var b strings.Builder
	b.WriteString("exec 2>/dev/null\n")
	for range 1 + s.IntN(12) {
		b.WriteString(s.command() + " || :\n")
	}
	b.WriteString("chmod u+rwx . one two three || :\nfor l in one two three; do if [ -L $l ] || [ ! -d $l ]; then rm -rf $l; mkdir $l; fi; done\n[ -L x ] || chmod -R u+rwx x || :\nrm -rf x\n")
	return b.String()
}
