package index

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Head is what is known of an index besides its buildpacks.
type Head struct {
	Name       string    `json:"name"` // what its user calls it
	Source     string    `json:"source"`
	Revision   string    `json:"revision,omitempty"` // commit of a git repository
	Synced     time.Time `json:"-"`                  // when it was last like its source: the time of the read model's file
	Buildpacks int       `json:"buildpacks"`
	Versions   int       `json:"versions"`
	Faults     []Fault   `json:"faults,omitempty"`
	MoreFaults int       `json:"more_faults,omitempty"`
	// Held says why the newest state of the source was not taken; "" where it was.
	Held string `json:"held,omitempty"`
}

// modelMagic begins a read model. After it stand, each on a line, the lengths of the head and of the table, then the
// head as JSON, the table (a name, where its versions are, and their length), and the versions.
const modelMagic = "slipway index 1\n"

// WriteModel replaces the read model at path by what is in t, as a whole: who has the old one open goes on with it.
func WriteModel(path string, h Head, t *Tree) (err error) {
	h.Buildpacks, h.Versions, h.Faults, h.MoreFaults = len(t.Buildpacks), t.Versions, t.Faults, t.MoreFaults
	head, err := json.Marshal(h)
	if err != nil {
		return err
	}
	var table, body bytes.Buffer
	for _, b := range t.Buildpacks {
		at := body.Len()
		for _, v := range b.Versions {
			mark := "-"
			if v.Yanked {
				mark = "y"
			}
			fmt.Fprintf(&body, "%s %s %s\n", v.Version, mark, v.Address)
		}
		fmt.Fprintf(&table, "%s %d %d\n", b.Name, at, body.Len()-at)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".model-*")
	if err != nil {
		return fmt.Errorf("write the read model of index %s: %w", h.Name, err)
	}
	defer os.Remove(f.Name()) // gone already where all went well
	_, err = fmt.Fprintf(f, "%s%d %d\n%s", modelMagic, len(head), table.Len(), head)
	for _, b := range []*bytes.Buffer{&table, &body} {
		if err == nil {
			_, err = b.WriteTo(f)
		}
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the read model of index %s: %w", h.Name, err)
	}
	return nil
}

// An Index is an open read model. Safe for concurrent use.
type Index struct {
	Head
	f     *os.File // nil: all is in read
	names []string // sorted
	at    []extent // beside names
	body  int64    // where versions begin

	mu   sync.Mutex
	read map[string]Buildpack
}

type extent struct{ from, length int64 }

// maxHead bounds what Open reads at once of a file that may not be one of ours.
const maxHead = 256 << 20

// Open opens a read model. Of versions nothing is read yet.
func Open(path string) (*Index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := &Index{f: f, read: map[string]Buildpack{}}
	if err := x.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("read model %s: %w (slipway registry sync makes it anew)", path, err), f.Close())
	}
	return x, nil
}

// Close ends the use of the Index.
func (x *Index) Close() error {
	if x.f == nil {
		return nil
	}
	return x.f.Close()
}

func (x *Index) open() error {
	br := bufio.NewReaderSize(x.f, 64<<10)
	magic := make([]byte, len(modelMagic))
	if _, err := io.ReadFull(br, magic); err != nil || string(magic) != modelMagic {
		return errors.New("it is not one of this version")
	}
	sizes, err := br.ReadString('\n')
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	var head, table int
	if n, err := fmt.Sscanf(sizes, "%d %d\n", &head, &table); n != 2 || err != nil || head < 0 || table < 0 || head+table > maxHead {
		return errors.New("its lengths are wrong")
	}
	b := make([]byte, head+table)
	if _, err := io.ReadFull(br, b); err != nil {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(b[:head], &x.Head); err != nil {
		return err
	}
	x.body = int64(len(modelMagic) + len(sizes) + head + table)
	return x.table(string(b[head:]))
}

func (x *Index) table(text string) error {
	n := strings.Count(text, "\n")
	x.names, x.at = make([]string, 0, n), make([]extent, 0, n)
	for l := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(l, "\n"), " ")
		from, length, _ := strings.Cut(rest, " ")
		e := extent{}
		var err, lerr error
		e.from, err = strconv.ParseInt(from, 10, 64)
		e.length, lerr = strconv.ParseInt(length, 10, 64)
		if err != nil || lerr != nil || e.from < 0 || e.length < 0 || e.length > maxFile {
			return fmt.Errorf("its table is wrong at %.80q", l)
		}
		x.names, x.at = append(x.names, name), append(x.at, e)
	}
	return nil
}

// Get is a buildpack of the index; false where it has none of that name.
func (x *Index) Get(n Name) (Buildpack, bool, error) {
	key := n.String()
	i, ok := slices.BinarySearch(x.names, key)
	if !ok {
		return Buildpack{}, false, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if b, ok := x.read[key]; ok {
		return b, true, nil
	}
	text := make([]byte, x.at[i].length)
	if _, err := x.f.ReadAt(text, x.body+x.at[i].from); err != nil {
		return Buildpack{}, false, fmt.Errorf("index %s: read the versions of %s: %w", x.Head.Name, n, err)
	}
	b := Buildpack{Name: n}
	for l := range strings.Lines(string(text)) {
		f := strings.Fields(l)
		if len(f) != 3 {
			return b, false, fmt.Errorf("index %s: its read model is damaged at %s: slipway registry sync makes it anew", x.Head.Name, n)
		}
		v := Version{Version: f[0], Yanked: f[1] == "y", Address: f[2]}
		if err := v.parse(); err != nil {
			return b, false, fmt.Errorf("index %s: its read model is damaged at %s: %w", x.Head.Name, n, err)
		}
		b.Versions = append(b.Versions, v)
	}
	x.read[key] = b
	return b, true, nil
}

// Names are the buildpacks of the index, sorted.
func (x *Index) Names() iter.Seq[string] { return slices.Values(x.names) }
