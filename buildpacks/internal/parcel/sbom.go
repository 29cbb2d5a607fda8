package parcel

import (
	"bytes"
	"cmp"
	"os"
	"slices"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/buildpacks/libcnb/v2"
)

// A Component is one thing that a buildpack installed.
type Component struct {
	Name    string
	Version string
	PURL    string
	SHA256  string // hex
	SHA512  string // hex
	License string // SPDX expression
	App     bool   // an application rather than a library
}

// WriteSBOM writes a CycloneDX document of components to file (libcnb's Layer.SBOMPath gives its name). It
// holds no time and no serial number: the same components give the same bytes.
func WriteSBOM(file string, by libcnb.Buildpack, components []Component) error {
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{{
		Type: cdx.ComponentTypeApplication, Name: by.Info.ID, Version: by.Info.Version,
	}}}}
	list := make([]cdx.Component, 0, len(components))
	for _, c := range components {
		e := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: c.PURL, Name: c.Name, Version: c.Version, PackageURL: c.PURL}
		if c.App {
			e.Type = cdx.ComponentTypeApplication
		}
		var hashes []cdx.Hash
		if c.SHA256 != "" {
			hashes = append(hashes, cdx.Hash{Algorithm: cdx.HashAlgoSHA256, Value: c.SHA256})
		}
		if c.SHA512 != "" {
			hashes = append(hashes, cdx.Hash{Algorithm: cdx.HashAlgoSHA512, Value: c.SHA512})
		}
		if hashes != nil {
			e.Hashes = &hashes
		}
		if c.License != "" {
			e.Licenses = &cdx.Licenses{{Expression: c.License}}
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	list = slices.CompactFunc(list, func(a, b cdx.Component) bool { return a.BOMRef == b.BOMRef })
	bom.Components = &list
	var b bytes.Buffer
	enc := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON)
	if err := enc.SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
