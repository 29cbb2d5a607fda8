package lifecycle

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// source is where both binaries come from.
const source = "https://github.com/slipway-build/slipway"

// A bill is what one of our binaries is made of, by the build information that Go leaves in it.
type bill struct {
	name, version string
	sum           string // sha256 of the binary, in hex
	path          string // import path of the command
	main          string // path of its module
	modules       []module
	goVersion     string
	goarch        string
}

// A module is a Go module, or the standard library.
type module struct{ path, version, h1 string }

// purl is the module's package URL (purl-spec, type golang: lower case).
func (m module) purl() string {
	return "pkg:golang/" + strings.ToLower(m.path) + "@" + strings.ReplaceAll(m.version, "+", "%2B")
}

// id names the module in a document where names are restricted.
func (m module) id() string {
	sum := sha256.Sum256([]byte(m.purl()))
	return hex.EncodeToString(sum[:8])
}

// readBill gives the three documents of a binary, by the names that the phases look for.
func readBill(name, version, binary string) ([]file, error) {
	b, err := parseBill(name, version, binary)
	if err != nil {
		return nil, fmt.Errorf("bill of materials of %s: %w", binary, err)
	}
	var files []file
	for _, doc := range []struct {
		format string
		val    any
	}{{"cdx", b.cycloneDX()}, {"spdx", b.spdx()}, {"syft", b.syft()}} {
		data, err := json.MarshalIndent(doc.val, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("bill of materials of %s: %w", binary, err)
		}
		files = append(files, file{name: name + ".sbom." + doc.format + ".json", data: append(data, '\n')})
	}
	return files, nil
}

func parseBill(name, version, binary string) (bill, error) {
	f, err := os.Open(binary)
	if err != nil {
		return bill{}, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return bill{}, err
	}
	info, err := buildinfo.Read(f)
	if err != nil {
		return bill{}, err
	}
	b := bill{name: name, version: version, sum: hex.EncodeToString(sum.Sum(nil)), path: info.Path, main: info.Main.Path, goVersion: info.GoVersion}
	for _, s := range info.Settings {
		if s.Key == "GOARCH" {
			b.goarch = s.Value
		}
	}
	b.modules = []module{{path: "stdlib", version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		b.modules = append(b.modules, module{d.Path, d.Version, d.Sum})
	}
	slices.SortFunc(b.modules, func(x, y module) int { return cmp.Compare(x.path, y.path) })
	return b, nil
}
