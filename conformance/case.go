package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/tools/txtar"
)

// Newest and oldest are the Platform API versions that the suite speaks of.
const (
	oldest = 7
	newest = 15
)

// A Case is one file below cases/: a TOML header, which this type describes, and the files that the case starts from
// or ends with.
type Case struct {
	Name string `toml:"-"` // "detector/first-group": the file's path without its suffix

	Title   string   `toml:"title"`
	Clauses []string `toml:"clauses"`  // ids of clauses.txt
	APIs    []string `toml:"platform"` // Platform API versions or ranges, "0.9-0.11"; each is one run; the newest if empty

	Order      []string                     `toml:"order"`      // order.toml: each a group, "a b? c@2.0.0"
	OrderExt   []string                     `toml:"order-ext"`  // its [[order-extensions]]
	Pre        string                       `toml:"pre"`        // system.toml
	Post       string                       `toml:"post"`       //
	Group      string                       `toml:"group"`      // layers/group.toml, and an empty plan.toml beside it
	Run        []string                     `toml:"run"`        // run.toml (and stack.toml): the run image and its mirrors
	RunImage   string                       `toml:"run-image"`  // layers/analyzed.toml: the run image, "run" if empty, "-" for no such file
	Buildpacks map[string]Module            `toml:"buildpack"`  // by id
	Extensions map[string]Module            `toml:"extension"`  // by id
	Images     map[string]Image             `toml:"image"`      // in the registry, beside "run"
	Layouts    map[string]string            `toml:"layouts"`    // OCI layouts: path below layout/ = image
	Access     Access                       `toml:"registry"`   // what the registry forbids
	Dirs       []string                     `toml:"dirs"`       // empty directories
	Links      map[string]string            `toml:"links"`      // symbolic links: path = target
	Modes      map[string]string            `toml:"modes"`      // permissions: path = "0755"
	Env        map[string]string            `toml:"env"`        // for every step; "!unset" takes a variable away
	PlatEnv    map[string]string            `toml:"user-env"`   // files in <platform>/env
	ConfEnv    map[string]string            `toml:"config-env"` // files in <build-config>/env
	LayerTypes map[string]map[string]string `toml:"layer"`      // layers/<buildpack>/<name>.toml: layer."<buildpack>" = { name = "launch cache" }
	Steps      []Step                       `toml:"step"`

	files []txtar.File
}

// A Module is a buildpack or extension: its scripts, and what its descriptor says beyond id, version and api.
type Module struct {
	Version  string   `toml:"version"` // "1.0.0" if empty
	API      string   `toml:"api"`     // "0.12" if empty
	Keys     string   `toml:"keys"`    // lines in [buildpack]
	Extra    string   `toml:"extra"`   // tables after it
	Order    []string `toml:"order"`   // a composite: groups as in Case.Order, and no scripts
	Detect   string   `toml:"detect"`  // shell; succeeds if empty
	Build    string   `toml:"build"`
	Generate string   `toml:"generate"`
}

// A Step runs one executable of the lifecycle and says how that must end.
type Step struct {
	Run      string            `toml:"run"`   // detector, analyzer, ..., launcher; or sh, for a change between two steps
	Args     []string          `toml:"args"`  //
	Name     string            `toml:"name"`  // argv[0], for the launcher
	Env      map[string]string `toml:"env"`   //
	User     string            `toml:"user"`  // "root"; else the CNB user
	Dir      string            `toml:"dir"`   // working directory, below the case's root; the root if empty
	Fresh    bool              `toml:"fresh"` // before: layers as in a new build, with nothing but the header's group
	Remove   []string          `toml:"remove"`
	Retag    map[string]string `toml:"retag"`  // before: image = name of the image that it becomes
	Exit     any               `toml:"exit"`   // 0 if not given; a number, or "1-10,13-19"
	Output   []string          `toml:"output"` // regular expressions, standard output and error together
	Stdout   []string          `toml:"stdout"`
	Stderr   []string          `toml:"stderr"`
	Silent   []string          `toml:"silent"`  // must not match the output
	Present  []string          `toml:"present"` // paths
	Absent   []string          `toml:"absent"`
	NoAsking []string          `toml:"no-request"` // must not match "METHOD /path" of a request to the registry
	Asking   []string          `toml:"request"`
}

// loadCases reads every case below dir.
func loadCases(dir fs.FS) ([]*Case, error) {
	var cases []*Case
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".txtar" {
			return err
		}
		data, err := fs.ReadFile(dir, path)
		if err != nil {
			return err
		}
		c, err := parseCase(strings.TrimSuffix(path, ".txtar"), data)
		if err != nil {
			return fmt.Errorf("case %s: %w", path, err)
		}
		cases = append(cases, c)
		return nil
	})
	return cases, err
}

func parseCase(name string, data []byte) (*Case, error) {
	archive := txtar.Parse(data)
	c := &Case{Name: name, files: archive.Files}
	header := toml.NewDecoder(bytes.NewReader(archive.Comment)).DisallowUnknownFields()
	if err := header.Decode(c); err != nil {
		if strict, ok := err.(*toml.StrictMissingError); ok {
			return nil, fmt.Errorf("unknown key:\n%s", strict)
		}
		return nil, err
	}
	if c.Title == "" || len(c.Clauses) == 0 || len(c.Steps) == 0 {
		return nil, fmt.Errorf("want a title, clauses and at least one [[step]]")
	}
	for _, s := range c.Steps {
		if _, err := exitCodes(s.Exit); err != nil {
			return nil, err
		}
	}
	_, err := c.apis()
	return c, err
}

// apis returns the Platform API versions of the case, oldest first.
func (c *Case) apis() ([]string, error) {
	if len(c.APIs) == 0 {
		return []string{version(newest)}, nil
	}
	var minors []int
	for _, text := range c.APIs {
		from, to, isRange := strings.Cut(text, "-")
		if !isRange {
			to = from
		}
		first, err := minor(from)
		if err != nil {
			return nil, err
		}
		last, err := minor(to)
		if err != nil {
			return nil, err
		}
		for m := first; m <= last; m++ {
			minors = append(minors, m)
		}
	}
	slices.Sort(minors)
	var all []string
	for _, m := range slices.Compact(minors) {
		all = append(all, version(m))
	}
	return all, nil
}

func version(minor int) string { return "0." + strconv.Itoa(minor) }

func minor(version string) (int, error) {
	text, ok := strings.CutPrefix(version, "0.")
	n, err := strconv.Atoi(text)
	if !ok || err != nil || n < oldest || n > newest {
		return 0, fmt.Errorf("platform %q is not a version from 0.%d to 0.%d", version, oldest, newest)
	}
	return n, nil
}

// exitCodes says which exit codes a step may end with: 0, 20, or "1-10,13-19".
func exitCodes(want any) (func(code int) bool, error) {
	switch want := want.(type) {
	case nil:
		return func(code int) bool { return code == 0 }, nil
	case int64:
		return func(code int) bool { return int64(code) == want }, nil
	case string:
		var spans [][2]int
		for part := range strings.SplitSeq(want, ",") {
			from, to, isRange := strings.Cut(part, "-")
			if !isRange {
				to = from
			}
			first, err := strconv.Atoi(from)
			if err != nil {
				return nil, fmt.Errorf("exit %q: %w", want, err)
			}
			last, err := strconv.Atoi(to)
			if err != nil {
				return nil, fmt.Errorf("exit %q: %w", want, err)
			}
			spans = append(spans, [2]int{first, last})
		}
		return func(code int) bool {
			return slices.ContainsFunc(spans, func(s [2]int) bool { return s[0] <= code && code <= s[1] })
		}, nil
	}
	return nil, fmt.Errorf("exit %v: want a number or a string of ranges", want)
}
