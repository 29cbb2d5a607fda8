package layerstore

import (
	"os"
	"path/filepath"
)

// memo is the file memo/<hex of diffID>, with a suffix for other forms than gzip. Encoder ties it to the encoder that
// made the blob: an image's digest must not depend on what an older version left in the store.
type memo struct {
	Entry
	Encoder string `json:"encoder"`
}

func (s *Store) memoPath(hex string, c Compression) string {
	return filepath.Join(s.memoDir(), hex+c.encoding().suffix)
}

// remember writes a memo without a sync: a torn one is a miss, and its blob is on disk already.
func (s *Store) remember(e Entry, c Compression) error {
	d, err := parseDigest(e.DiffID)
	if err != nil {
		return err
	}
	b, err := encodeRecord(memo{Entry: e, Encoder: c.encoding().id})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.stagingDir(), "memo-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return place(f.Name(), s.memoPath(d.Hex, c))
}

// Any is Known in whatever form the layer is there: for who unpacks it.
func (s *Store) Any(diffID string) (Entry, bool) {
	for _, c := range []Compression{s.as, Gzip, Zstd} {
		if e, ok := s.known(diffID, c); ok {
			return e, true
		}
	}
	return Entry{}, false
}

// Known finds the stored form of a layer by its diffID. It reads no content: one small file and a stat.
func (s *Store) Known(diffID string) (Entry, bool) { return s.known(diffID, s.as) }

func (s *Store) known(diffID string, c Compression) (Entry, bool) {
	d, err := parseDigest(diffID)
	if err != nil {
		return Entry{}, false
	}
	path := s.memoPath(d.Hex, c)
	b, err := readSmall(path, 4<<10)
	if err != nil {
		return Entry{}, false
	}
	var m memo
	if decodeRecord(b, &m) != nil || m.DiffID != diffID || m.Encoder != c.encoding().id {
		_ = os.Remove(path)
		return Entry{}, false
	}
	h, err := parseDigest(m.Digest)
	if err != nil || !s.Has(h, m.Size) {
		_ = os.Remove(path)
		return Entry{}, false
	}
	return m.Entry, true
}
