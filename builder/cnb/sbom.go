package cnb

import (
	"fmt"
	"strings"
)

// Media types of the SBOM formats of the spec (buildpack, "Software-Bill-of-Materials").
const (
	MediaTypeCycloneDX = "application/vnd.cyclonedx+json"
	MediaTypeSPDX      = "application/spdx+json"
	MediaTypeSyft      = "application/vnd.syft+json"
)

// SBOMExtension is the file extension of a media type ("cdx.json"), "" for an unknown one.
// Parameters of the media type, such as a version, are ignored.
func SBOMExtension(mediaType string) string {
	base, _, _ := strings.Cut(mediaType, ";")
	switch strings.TrimSpace(base) {
	case MediaTypeCycloneDX:
		return "cdx.json"
	case MediaTypeSPDX:
		return "spdx.json"
	case MediaTypeSyft:
		return "syft.json"
	}
	return ""
}

// SBOMExtensions are the file extensions of the formats, in the order in which the reference looks for them.
func SBOMExtensions() []string { return []string{"cdx.json", "spdx.json", "syft.json"} }

// SBOMMediaType is the media type of an extension ("cdx.json"), "" for an unknown one.
func SBOMMediaType(extension string) string {
	switch extension {
	case "cdx.json":
		return MediaTypeCycloneDX
	case "spdx.json":
		return MediaTypeSPDX
	case "syft.json":
		return MediaTypeSyft
	}
	return ""
}

// SBOMName splits the name of an SBOM file below <layers>/<buildpack>: "launch.sbom.cdx.json" gives "launch"
// and "cdx.json". ok is false where file does not have the form <name>.sbom.<extension>. An extension that
// no media type has is an error at the caller's, who knows the buildpack.
func SBOMName(file string) (name, extension string, ok bool) {
	i := strings.LastIndex(file, ".sbom.")
	if i <= 0 {
		return "", "", false
	}
	return file[:i], file[i+len(".sbom."):], true
}

// DeclaresSBOM tells whether the buildpack may write an SBOM of this extension; if not, the error says what to do.
func (d *Descriptor) DeclaresSBOM(file, extension string) error {
	media := SBOMMediaType(extension)
	if media == "" {
		return fmt.Errorf("buildpack %s: SBOM file %s: unknown format, want cdx.json, spdx.json or syft.json", d.Ref, quote(file))
	}
	for _, f := range d.SBOMFormats {
		if SBOMExtension(f) == extension {
			return nil
		}
	}
	return fmt.Errorf("buildpack %s: SBOM file %s: buildpack.toml does not declare %q in sbom-formats", d.Ref, quote(file), media)
}
