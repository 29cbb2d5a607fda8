package index

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A reading is a Tree that is being read: one goroutine hands in files, in order, several parse them, and done puts
// together what they found, in the same order however they ran.
type reading struct {
	parts []*part
	jobs  chan *part
	room  chan []byte // buffers for the text of small files
	wg    sync.WaitGroup
	here  *parser // for large files, which are parsed as they are read

	versions atomic.Int64
}

// maxParsers is how many parse at once: more would wait for who unpacks the archive.
const maxParsers = 8

// rowSize is about what a row has at least: room is made by it.
const rowSize = 170

// small is the text of a file that is read as a whole, to be parsed beside the reading.
const small = 1 << 20

func newReading() *reading {
	n := min(runtime.GOMAXPROCS(0), maxParsers)
	t := &reading{jobs: make(chan *part, n), room: make(chan []byte, 2*n), here: newParser()} // a job in work and one waiting, each
	for range cap(t.room) {
		t.room <- nil
	}
	for range n {
		t.wg.Go(func() {
			p := newParser()
			for job := range t.jobs {
				text := job.text
				job.text, job.buildpack.Versions = nil, make([]Version, 0, len(text)/rowSize+1)
				_ = p.read(job, bytes.NewReader(text)) // a reader of memory has no errors
				t.versions.Add(int64(len(job.buildpack.Versions)))
				t.room <- text
			}
		})
	}
	return t
}

// A part is one file of an index, and what is in it.
type part struct {
	at        string
	text      []byte // nil once it is parsed
	buildpack Buildpack
	faults    []Fault
	more      int
}

func (p *part) fault(line int, reason error) {
	if len(p.faults) == maxFaults {
		p.more++
		return
	}
	p.faults = append(p.faults, Fault{File: p.at, Line: line, Reason: reason.Error()})
}

// file takes the file at p, of which the last two or three parts say whose it is. Other files are none of an index's.
func (t *reading) file(p string, r io.Reader) error {
	ns, name, ok := strings.Cut(path.Base(p), "_")
	if !ok {
		return nil
	}
	job := &part{at: p}
	n, err := ParseName(ns + "/" + name)
	if err == nil && p != n.Path() && !strings.HasSuffix(p, "/"+n.Path()) {
		err = fmt.Errorf("the versions of %s belong into %s", n, n.Path())
	}
	if len(t.parts) == maxFiles {
		return fmt.Errorf("more than %d buildpacks", maxFiles)
	}
	t.parts = append(t.parts, job)
	if err != nil {
		job.fault(0, err)
		return nil
	}
	job.buildpack.Name = n
	if t.versions.Load() > maxVersions {
		return fmt.Errorf("more than %d versions", maxVersions)
	}
	room := <-t.room
	text, whole, err := readSmall(r, room[:0])
	if err == nil && whole {
		job.text = text
		t.jobs <- job
		return nil
	}
	if err == nil {
		err = t.here.read(job, io.MultiReader(bytes.NewReader(text), r))
		t.versions.Add(int64(len(job.buildpack.Versions)))
	}
	t.room <- text
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}

// readSmall reads r into b, up to small; whole says that there is no more of it.
func readSmall(r io.Reader, b []byte) (text []byte, whole bool, err error) {
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, max(16<<10, len(b)))
		}
		n, err := r.Read(b[len(b):min(cap(b), small)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, true, nil
		case err != nil:
			return b, false, err
		case len(b) == small:
			return b, false, nil
		}
	}
}

// done is the Tree, unless the reading ended with an error. It has to be called.
func (t *reading) done(err error) (*Tree, error) {
	close(t.jobs)
	t.wg.Wait()
	if err == nil && t.versions.Load() > maxVersions {
		err = fmt.Errorf("more than %d versions", maxVersions)
	}
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(t.parts, func(a, b *part) int {
		return strings.Compare(a.buildpack.Name.String(), b.buildpack.Name.String())
	})
	tree := &Tree{Buildpacks: make([]Buildpack, 0, len(t.parts))}
	var last Name
	for _, p := range t.parts {
		b := p.buildpack
		if b.Name == last && b.Name != (Name{}) {
			p.faults, p.more = nil, 0
			p.at = b.Name.Path()
			p.fault(0, errors.New("the file is there in more than one directory: the first counts"))
			b.Versions = nil
		}
		last = p.buildpack.Name
		keep := min(len(p.faults), maxFaults-len(tree.Faults))
		tree.Faults = append(tree.Faults, p.faults[:keep]...)
		tree.MoreFaults += p.more + len(p.faults) - keep
		if len(b.Versions) > 0 {
			tree.Buildpacks, tree.Versions = append(tree.Buildpacks, b), tree.Versions+len(b.Versions)
		}
	}
	return tree, nil
}

// A parser parses one file after the other.
type parser struct {
	in   *bufio.Reader
	good map[string]bool // repositories that were found so
}

func newParser() *parser {
	return &parser{in: bufio.NewReaderSize(nil, maxLine), good: map[string]bool{}}
}

// read fills in what is in the file of a part.
func (p *parser) read(job *part, r io.Reader) error {
	b := &job.buildpack
	limited := &io.LimitedReader{R: r, N: maxFile}
	p.in.Reset(limited)
	for no := 1; ; no++ {
		text, err := p.in.ReadSlice('\n')
		long := err == bufio.ErrBufferFull
		for err == bufio.ErrBufferFull { // the rest of it
			_, err = p.in.ReadSlice('\n')
		}
		text = bytes.TrimSpace(text)
		switch {
		case long:
			job.fault(no, fmt.Errorf("the line has %d bytes or more", maxLine))
		case len(text) > 0:
			v, verr := parseLine(text, b.Name, p.good)
			if verr != nil {
				job.fault(no, verr)
				break
			}
			b.Versions = append(b.Versions, v)
		}
		if err == io.EOF {
			if limited.N == 0 {
				job.fault(no, fmt.Errorf("the file is larger than %d bytes: the rest was not read", maxFile))
			}
			break
		}
		if err != nil {
			return err
		}
	}
	for _, twice := range b.arrange() {
		job.fault(0, twice)
	}
	return nil
}
