package cnb

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// LabelCommand is a process's command in a label: an array, or a string in images made for Platform API
// 0.9 and older.
type LabelCommand []string

// UnmarshalJSON reads both forms.
func (c *LabelCommand) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*c = LabelCommand{s}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(c))
}

// EncodeBuildMetadata writes the label io.buildpacks.build.metadata for an image made under the given
// Platform API, in the reference's form: the order of keys is part of the image's identity.
func EncodeBuildMetadata(m Metadata, launcher LauncherMetadata, platformAPI API) ([]byte, error) {
	procs := []labelProcess{}
	for _, p := range m.Processes {
		p = p.forPlatform(platformAPI)
		lp := labelProcess{
			Type: p.Type, Args: p.Args, Direct: p.Direct, Default: p.Default,
			BuildpackID: p.BuildpackID, WorkingDir: p.WorkingDir, ExecEnv: p.ExecEnv, Command: p.Command,
		}
		if !platformAPI.AtLeast(0, 10) && len(p.Command) > 0 {
			lp.Command = p.Command[0]
		}
		procs = append(procs, lp)
	}
	body := labelBody{
		Buildpacks: labelElements(m.Buildpacks), Extensions: labelElements(m.Extensions),
		Launcher: launcher, Processes: procs, DefaultType: m.BuildpackDefaultType,
	}
	if platformAPI.AtLeast(0, 9) {
		return json.Marshal(body)
	}
	var bom []labelBOM
	for _, e := range m.BOM {
		bom = append(bom, labelBOM{e.Name, e.Version, e.Metadata, labelElements([]GroupElement{e.Buildpack})[0]})
	}
	return json.Marshal(struct {
		BOM []labelBOM `json:"bom"`
		labelBody
	}{bom, body})
}

type labelBody struct {
	Buildpacks  []labelElement   `json:"buildpacks"`
	Extensions  []labelElement   `json:"extensions,omitempty"`
	Launcher    LauncherMetadata `json:"launcher"`
	Processes   []labelProcess   `json:"processes"`
	DefaultType ProcessType      `json:"buildpack-default-process-type,omitempty"`
}

type labelProcess struct {
	Type        ProcessType `json:"type"`
	Command     any         `json:"command"`
	Args        []string    `json:"args"`
	Direct      bool        `json:"direct"`
	Default     bool        `json:"default,omitempty"`
	BuildpackID ID          `json:"buildpackID"`
	WorkingDir  string      `json:"working-dir,omitempty"`
	ExecEnv     []string    `json:"exec-env,omitempty"`
}

type labelElement struct {
	ID       ID     `json:"id"`
	Version  string `json:"version"`
	Homepage string `json:"homepage,omitempty"`
	Optional bool   `json:"optional,omitempty"`
}

type labelBOM struct {
	Name      string         `json:"name"`
	Version   string         `json:"version,omitempty"`
	Metadata  map[string]any `json:"metadata"`
	Buildpack labelElement   `json:"buildpack"`
}

func labelElements(es []GroupElement) []labelElement {
	var out []labelElement
	for _, e := range es {
		out = append(out, labelElement{e.ID, e.Version, e.Homepage, e.Optional})
	}
	return out
}

// EncodeLegacyBOM writes sbom.legacy.json, the deprecated bill of materials as a file of the SBOM layer
// (Platform API 0.9 and newer): JSON and a line end; "null" for none.
func EncodeLegacyBOM(entries []BOMEntry) ([]byte, error) {
	var bom []labelBOM
	for _, e := range entries {
		bom = append(bom, labelBOM{e.Name, e.Version, e.Metadata, labelElements([]GroupElement{e.Buildpack})[0]})
	}
	b, err := json.Marshal(bom)
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// jsonString is s in the form of Go's JSON encoder, HTML escapes included, which metadata.toml uses for
// commands; DEL is escaped too, as TOML wants.
func jsonString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\ufffd`)
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strings.ContainsRune("\b\f\n\r\t", r):
			b.WriteByte('\\')
			b.WriteByte("bfnrt"[strings.IndexRune("\b\f\n\r\t", r)])
		case r < 0x20 || r == 0x7f || r == '<' || r == '>' || r == '&' || r == '\u2028' || r == '\u2029':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	b.WriteByte('"')
	return b.String()
}
