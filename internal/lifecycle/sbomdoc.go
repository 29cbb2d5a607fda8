package lifecycle

import "time"

// The three documents, as far as they say something of a static Go binary. None holds a time or an id of its own
// making, so that the same binary has the same bill.

type (
	cdxDocument struct {
		BOMFormat    string          `json:"bomFormat"`
		SpecVersion  string          `json:"specVersion"`
		Version      int             `json:"version"`
		Metadata     cdxMetadata     `json:"metadata"`
		Components   []cdxComponent  `json:"components"`
		Dependencies []cdxDependency `json:"dependencies"`
	}
	cdxMetadata struct {
		Component cdxComponent `json:"component"`
	}
	cdxComponent struct {
		BOMRef  string    `json:"bom-ref"`
		Type    string    `json:"type"`
		Name    string    `json:"name"`
		Version string    `json:"version,omitempty"`
		Hashes  []cdxHash `json:"hashes,omitempty"`
		PURL    string    `json:"purl,omitempty"`
	}
	cdxHash struct {
		Alg     string `json:"alg"`
		Content string `json:"content"`
	}
	cdxDependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

// cycloneDX is the bill in CycloneDX 1.5.
func (b bill) cycloneDX() cdxDocument {
	d := cdxDocument{BOMFormat: "CycloneDX", SpecVersion: "1.5", Version: 1}
	d.Metadata.Component = cdxComponent{
		BOMRef: b.path, Type: "application", Name: b.name, Version: b.version, Hashes: []cdxHash{{"SHA-256", b.sum}},
	}
	depends := cdxDependency{Ref: b.path}
	for _, m := range b.modules {
		d.Components = append(d.Components, cdxComponent{BOMRef: m.purl(), Type: "library", Name: m.path, Version: m.version, PURL: m.purl()})
		depends.DependsOn = append(depends.DependsOn, m.purl())
	}
	d.Dependencies = []cdxDependency{depends}
	return d
}

const noAssertion = "NOASSERTION"

type (
	spdxDocument struct {
		SPDXVersion       string             `json:"spdxVersion"`
		DataLicense       string             `json:"dataLicense"`
		SPDXID            string             `json:"SPDXID"`
		Name              string             `json:"name"`
		DocumentNamespace string             `json:"documentNamespace"`
		CreationInfo      spdxCreation       `json:"creationInfo"`
		Packages          []spdxPackage      `json:"packages"`
		Relationships     []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		SPDXID           string         `json:"SPDXID"`
		Name             string         `json:"name"`
		VersionInfo      string         `json:"versionInfo,omitempty"`
		DownloadLocation string         `json:"downloadLocation"`
		FilesAnalyzed    bool           `json:"filesAnalyzed"`
		Checksums        []spdxChecksum `json:"checksums,omitempty"`
		LicenseConcluded string         `json:"licenseConcluded"`
		LicenseDeclared  string         `json:"licenseDeclared"`
		CopyrightText    string         `json:"copyrightText"`
		ExternalRefs     []spdxRef      `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxRef struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

// spdx is the bill in SPDX 2.3, which wants a time: it is the one that all our files have.
func (b bill) spdx() spdxDocument {
	d := spdxDocument{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT", Name: b.name,
		DocumentNamespace: source + "/sbom/" + b.name + "-" + b.sum,
		CreationInfo:      spdxCreation{Created: fileTime().Format(time.RFC3339), Creators: []string{"Organization: Slipway"}},
	}
	const root = "SPDXRef-Binary"
	pkg := spdxPackage{
		SPDXID: root, Name: b.name, VersionInfo: b.version, DownloadLocation: "git+" + source,
		Checksums: []spdxChecksum{{"SHA256", b.sum}}, LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, CopyrightText: noAssertion,
	}
	d.Packages = []spdxPackage{pkg}
	d.Relationships = []spdxRelationship{{d.SPDXID, "DESCRIBES", root}}
	for _, m := range b.modules {
		id := "SPDXRef-Package-" + m.id()
		d.Packages = append(d.Packages, spdxPackage{
			SPDXID: id, Name: m.path, VersionInfo: m.version, DownloadLocation: noAssertion,
			LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, CopyrightText: noAssertion,
			ExternalRefs: []spdxRef{{"PACKAGE-MANAGER", "purl", m.purl()}},
		})
		d.Relationships = append(d.Relationships, spdxRelationship{root, "DEPENDS_ON", id})
	}
	return d
}

type (
	syftDocument struct {
		Artifacts     []syftArtifact     `json:"artifacts"`
		Relationships []syftRelationship `json:"artifactRelationships"`
		Source        syftSource         `json:"source"`
		Distro        struct{}           `json:"distro"`
		Descriptor    syftDescriptor     `json:"descriptor"`
		Schema        syftSchema         `json:"schema"`
	}
	syftArtifact struct {
		ID           string       `json:"id"`
		Name         string       `json:"name"`
		Version      string       `json:"version"`
		Type         string       `json:"type"`
		FoundBy      string       `json:"foundBy"`
		Locations    []syftPath   `json:"locations"`
		Licenses     []string     `json:"licenses"`
		Language     string       `json:"language"`
		CPEs         []string     `json:"cpes"`
		PURL         string       `json:"purl"`
		MetadataType string       `json:"metadataType"`
		Metadata     syftMetadata `json:"metadata"`
	}
	syftPath struct {
		Path       string `json:"path"`
		AccessPath string `json:"accessPath"`
	}
	syftMetadata struct {
		GoVersion    string `json:"goCompiledVersion"`
		Architecture string `json:"architecture"`
		H1           string `json:"h1Digest,omitempty"`
		Main         string `json:"mainModule,omitempty"`
	}
	syftRelationship struct {
		Parent string `json:"parent"`
		Child  string `json:"child"`
		Type   string `json:"type"`
	}
	syftSource struct {
		ID       string         `json:"id"`
		Name     string         `json:"name"`
		Version  string         `json:"version"`
		Type     string         `json:"type"`
		Metadata syftSourceFile `json:"metadata"`
	}
	syftSourceFile struct {
		Path     string       `json:"path"`
		Digests  []syftDigest `json:"digests"`
		MIMEType string       `json:"mimeType"`
	}
	syftDigest struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"value"`
	}
	syftDescriptor struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	syftSchema struct {
		Version string `json:"version"`
		URL     string `json:"url"`
	}
)

// syft is the bill in syft's own form, schema 16.
func (b bill) syft() syftDocument {
	at := "/cnb/lifecycle/" + b.name
	d := syftDocument{
		Source: syftSource{ID: b.sum, Name: b.name, Version: b.version, Type: "file", Metadata: syftSourceFile{
			Path: at, Digests: []syftDigest{{"sha256", b.sum}}, MIMEType: "application/x-executable",
		}},
		Descriptor: syftDescriptor{Name: "slipway"},
		Schema:     syftSchema{"16.0.0", "https://raw.githubusercontent.com/anchore/syft/main/schema/json/schema-16.0.0.json"},
	}
	for _, m := range b.modules {
		d.Artifacts = append(d.Artifacts, syftArtifact{
			ID: m.id(), Name: m.path, Version: m.version, Type: "go-module", FoundBy: "go-module-binary-cataloger",
			Locations: []syftPath{{at, at}}, Licenses: []string{}, Language: "go", CPEs: []string{}, PURL: m.purl(),
			MetadataType: "go-module-buildinfo-entry",
			Metadata:     syftMetadata{GoVersion: b.goVersion, Architecture: b.goarch, H1: m.h1, Main: b.main},
		})
		d.Relationships = append(d.Relationships, syftRelationship{b.sum, m.id(), "contains"})
	}
	return d
}
