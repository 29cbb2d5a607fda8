package cnb

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// A Table is TOML of a buildpack's own that passes from one buildpack to another. In JSON it is TOML text, so
// that integers, floats and dates are the same on the other side; a JSON object is read as well.
type Table map[string]any

// MarshalJSON writes the TOML text as a JSON string.
func (t Table) MarshalJSON() ([]byte, error) {
	if t == nil {
		return []byte("null"), nil
	}
	o, _ := asObject(map[string]any(t))
	text, err := encode(o)
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(text))
}

// UnmarshalJSON reads TOML text or a JSON object.
func (t *Table) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return number(b, (*map[string]any)(t))
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	_, m, err := parse("table", []byte(text), 16*MaxDescriptor)
	if err != nil {
		return err
	}
	*t = m.m
	return nil
}

// number decodes JSON and keeps numbers as written (json.Number), so that an integer is not a float when it
// is written to TOML again.
func number(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	return dec.Decode(v)
}

// UnmarshalJSON keeps numbers as written.
func (m *LayerMetadata) UnmarshalJSON(b []byte) error {
	type file LayerMetadataFile
	v := struct {
		SHA string `json:"sha"`
		file
	}{}
	if err := number(b, &v); err != nil {
		return err
	}
	m.SHA, m.LayerMetadataFile = v.SHA, LayerMetadataFile(v.file)
	return nil
}

// UnmarshalJSON keeps numbers as written.
func (s *StoreTOML) UnmarshalJSON(b []byte) error {
	type plain StoreTOML
	return number(b, (*plain)(s))
}

// UnmarshalJSON keeps numbers as written.
func (l *LayerTOML) UnmarshalJSON(b []byte) error {
	type plain LayerTOML
	return number(b, (*plain)(l))
}

// UnmarshalJSON keeps numbers as written.
func (s *ProjectSource) UnmarshalJSON(b []byte) error {
	type plain ProjectSource
	return number(b, (*plain)(s))
}

// DecodeLayersMetadata reads the label io.buildpacks.lifecycle.metadata. Whoever made the image wrote it: its
// names and digests are not checked here, so that what is wrong can be dropped one by one.
func DecodeLayersMetadata(label string) (LayersMetadata, error) {
	var m LayersMetadata
	if err := json.Unmarshal([]byte(label), &m); err != nil {
		return LayersMetadata{}, &FileError{File: "label " + LabelLifecycleMetadata, What: oneLine(err.Error())}
	}
	return m, nil
}

// DecodeRunImage reads from the label io.buildpacks.lifecycle.metadata what the app's run image is called; the
// deprecated "stack" is read where nothing else says it.
func DecodeRunImage(label string) (RunImageName, error) {
	var m struct {
		RunImage RunImageName `json:"runImage"`
		Stack    StackLabel   `json:"stack"`
	}
	if err := json.Unmarshal([]byte(label), &m); err != nil {
		return RunImageName{}, &FileError{File: "label " + LabelLifecycleMetadata, What: oneLine(err.Error())}
	}
	if m.RunImage.Image == "" {
		return m.Stack.RunImage, nil
	}
	return m.RunImage, nil
}

// DecodeCacheMetadata reads the metadata of a cache, from its file or the label of a cache image. One name or
// digest in it that could not be part of a path makes the cache damaged as a whole.
func DecodeCacheMetadata(b []byte) (CacheMetadata, error) {
	var m CacheMetadata
	err := json.Unmarshal(b, &m)
	if err == nil {
		err = checkLayers(m.Buildpacks)
	}
	if err != nil {
		return CacheMetadata{}, &FileError{File: LabelCacheMetadata, What: oneLine(err.Error())}
	}
	return m, nil
}

func checkLayers(bps []BuildpackLayers) error {
	for _, bp := range bps {
		if _, err := ParseID(string(bp.ID)); err != nil {
			return err
		}
		for name, l := range bp.Layers {
			if _, err := ParseLayerName(name); err != nil {
				return fmt.Errorf("buildpack %s: %w", bp.ID, err)
			}
			if !only(l.SHA, ":") {
				return fmt.Errorf("buildpack %s: layer %s: %s is not a digest", bp.ID, quote(name), quote(l.SHA))
			}
		}
	}
	return nil
}
