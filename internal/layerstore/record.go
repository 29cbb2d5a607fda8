package layerstore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
)

// A record is a small file that is believed without a look at what it speaks of: a memo, or the index of a cache. It
// says what its own bytes have to be, so that a record with one letter changed is no record.
type record struct {
	Sum  string          `json:"sum"` // of the bytes of Record
	Body json.RawMessage `json:"record"`
}

func encodeRecord(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return json.Marshal(record{Sum: sumOf(b), Body: b})
}

var errGarbled = errors.New("not what it was written as")

func decodeRecord(b []byte, v any) error {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	if r.Sum != sumOf(r.Body) {
		return errGarbled
	}
	return json.Unmarshal(r.Body, v)
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
