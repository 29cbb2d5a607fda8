package lint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder/cnb"
)

const (
	maxScript  = 1 << 20 // bytes of an executable that are looked at
	maxEntries = 1000    // of bin that are looked at
)

// executables looks at bin, and wants there what the spec wants.
func (t *text) executables(d *cnb.Descriptor) {
	must := []string{"bin/build", "bin/detect"}
	if d.Extension {
		must = []string{"bin/detect", "bin/generate"}
	}
	for _, name := range must {
		if _, err := t.root.Lstat(name); !errors.Is(err, fs.ErrNotExist) || t.otherForm(name) {
			continue
		}
		switch {
		case name == "bin/build":
			t.add(name, 0, "executable", Error, "it is missing", "write it, or build it before the buildpack is packaged")
		case !d.Extension && !d.API.AtLeast(0, 10):
			t.add(name, 0, "executable", Error, fmt.Sprintf("it is missing, which Buildpack API %s does not allow", d.API), "write it")
		case !d.Extension:
			t.add(name, 0, "executable", Warning, "it is missing: the buildpack passes for every app", "write it, if that is not meant")
		}
	}
	dir, err := t.root.Open("bin")
	if err != nil {
		return // told of above
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		t.add("bin", 0, "executable", Error, reasonOf(err), "make it a directory")
		return
	}
	for _, e := range entries {
		name := path.Join("bin", e.Name())
		t.executable(name, slices.Contains(must, name), d)
	}
}

// otherForm says whether the executable is there for Windows, or is made for a target in a directory of its own.
func (t *text) otherForm(name string) bool {
	for _, at := range []string{name + ".bat", name + ".exe", path.Join("linux", name)} {
		if _, err := t.root.Lstat(at); err == nil {
			return true
		}
	}
	for _, arch := range architectures() {
		if _, err := t.root.Lstat(path.Join("linux", arch, name)); err == nil {
			return true
		}
	}
	return false
}

// executable looks at a file of bin, which has to be one where it must.
func (t *text) executable(name string, must bool, d *cnb.Descriptor) {
	f, err := t.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		t.add(name, 0, "executable", Error, "it cannot be opened: "+reasonOf(err), "make it a file, or a link to one below the buildpack's directory")
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		if must {
			t.add(name, 0, "executable", Error, "it is no regular file", "make it a file")
		}
		return
	}
	head, err := io.ReadAll(io.LimitReader(f, maxScript))
	if err != nil {
		t.add(name, 0, "executable", Error, reasonOf(err), "make it readable")
		return
	}
	isScript, isELF := bytes.HasPrefix(head, []byte("#!")), bytes.HasPrefix(head, []byte("\x7fELF"))
	switch {
	case fi.Size() == 0 && must:
		t.add(name, 0, "executable", Error, "it is empty", "write it")
		return
	case fi.Mode()&0o111 == 0 && (must || isScript || isELF):
		t.add(name, 0, "mode", Error, fmt.Sprintf("its mode is %04o: nobody may run it", fi.Mode().Perm()),
			fmt.Sprintf("chmod 755 %s; in git: git update-index --chmod=+x %s", name, name))
	case fi.Mode()&0o002 != 0 || fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0:
		t.add(name, 0, "mode", Warning, "everybody may write to it, or it runs as its owner", "chmod 755 "+name)
	}
	switch {
	case isELF:
		t.machine(name, head, d)
	case isScript || must:
		t.script(name, head, must)
	}
}

// machines are the values of e_machine of an ELF file for each architecture.
func machines() map[uint16]string {
	return map[uint16]string{3: "386", 62: "amd64", 40: "arm", 183: "arm64", 258: "loong64", 8: "mips64le", 21: "ppc64le", 243: "riscv64", 22: "s390x"}
}

// machine wants a program to be for one of the targets.
func (t *text) machine(name string, head []byte, d *cnb.Descriptor) {
	if len(head) < 20 {
		t.add(name, 0, "executable", Error, "it is the beginning of a program alone", "build it again")
		return
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if head[5] == 2 {
		order = binary.BigEndian
	}
	arch := machines()[order.Uint16(head[18:])]
	fits := func(g cnb.Target) bool { return g.Arch == "" || g.Arch == arch }
	if len(d.Targets) > 0 && !slices.ContainsFunc(d.Targets, fits) {
		t.add(name, 0, "target", Error, "it is a program for "+quote(arch)+", which is none of the buildpack's targets", "build it for one of [[targets]], or name "+arch+" there")
	}
}

// script looks at the text of an executable.
func (t *text) script(name string, b []byte, must bool) {
	first, _, _ := bytes.Cut(b, []byte("\n"))
	switch interpreter := bytes.TrimLeft(bytes.TrimPrefix(first, []byte("#!")), " \t"); {
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		t.add(name, 1, "byte-order-mark", Error, "it begins with a byte order mark, before which no #! is seen", "save it as UTF-8 without one")
	case !bytes.HasPrefix(b, []byte("#!")) && must:
		t.add(name, 1, "shebang", Error, "it is neither a program nor begins with #!", "begin it with #!/usr/bin/env bash")
		return
	case !bytes.HasPrefix(interpreter, []byte("/")):
		t.add(name, 1, "shebang", Error, "its interpreter is no absolute path", "begin it with #!/usr/bin/env bash")
	case bytes.HasSuffix(first, []byte("\r")):
		t.add(name, 1, "shebang", Error, "its interpreter's name ends with CR: there is no such file", crlfFix)
		return
	case bytes.HasPrefix(interpreter, []byte("/usr/bin/env ")) && len(bytes.Fields(interpreter)) > 2 && !bytes.Contains(interpreter, []byte(" -S")):
		t.add(name, 1, "shebang", Error, "env takes all that follows for one name on Linux", "leave the arguments out, or write #!/usr/bin/env -S")
	}
	if before, _, ok := bytes.Cut(b, []byte("\r\n")); ok {
		t.add(name, 1+bytes.Count(before, []byte("\n")), "line-ending", Error, "lines end with CR LF, and CR belongs to the last word of each", crlfFix)
	}
	t.layerNames(name, b)
}

// layer finds what a script makes below the directory of its layers, by the names that scripts give it.
var layer = regexp.MustCompile(`mkdir\s+(?:-p\s+)?["']?\$\{?(?:CNB_LAYERS_DIR|LAYERS_DIR|layers_dir|layersdir|layers)\}?["']?/([^"'/\s;&|$]+)`)

// layerNames wants the names of layers not to be those of files that are in their place.
func (t *text) layerNames(name string, b []byte) {
	n := 0
	for line := range bytes.Lines(b) {
		n++
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) {
			continue
		}
		for _, m := range layer.FindAllSubmatch(line, -1) {
			if _, err := cnb.ParseLayerName(string(m[1])); err != nil {
				t.add(name, n, "layer-name", Error, strings.TrimSpace(err.Error()), "give the layer another name")
			}
		}
	}
}
