package builder

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// Places in an app image (platform, "Outputs" of the exporter).
const (
	cnbDir       = "/cnb"
	processDir   = "/cnb/process"
	lifecycleDir = "/cnb/lifecycle"
	launcherPath = "/cnb/lifecycle/launcher"
)

// A ProcessTypeError tells that the user asked for a default process that no buildpack contributed.
type ProcessTypeError struct {
	ProcessType cnb.ProcessType
	Have        []cnb.ProcessType
}

func (e *ProcessTypeError) Error() string {
	if len(e.Have) == 0 {
		return fmt.Sprintf("default process %q does not exist: no buildpack contributed any process type", e.ProcessType)
	}
	names := make([]string, len(e.Have))
	for i, t := range e.Have {
		names[i] = string(t)
	}
	return fmt.Sprintf("default process %q does not exist: choose one of %s", e.ProcessType, strings.Join(names, ", "))
}

// entrypoint is the link of the default process, or the launcher where there is no default.
func (e *exporter) entrypoint() ([]string, error) {
	md := e.Built.Metadata
	want := md.BuildpackDefaultType
	if e.ProcessType != "" {
		var have []cnb.ProcessType
		found := false
		for _, p := range md.Processes {
			have = append(have, p.Type)
			found = found || p.Type == e.ProcessType
		}
		if !found {
			return nil, &ProcessTypeError{ProcessType: e.ProcessType, Have: have}
		}
		want = e.ProcessType
	}
	if want == "" {
		return []string{launcherPath}, nil
	}
	return []string{processDir + "/" + string(want)}, nil
}

// env is the variables that the image gets besides PATH, in the reference's order.
func (e *exporter) env() []cnb.Label {
	return []cnb.Label{
		{Key: "CNB_LAYERS_DIR", Value: e.Dirs.Layers},
		{Key: "CNB_APP_DIR", Value: e.Dirs.App},
		{Key: "CNB_PLATFORM_API", Value: e.PlatformAPI.String()},
		{Key: "CNB_DEPRECATION_MODE", Value: "quiet"},
	}
}

// labels is the image's labels but for the lifecycle metadata. Buildpacks may set any but the engine's own
// three, whose contents later builds and rebases rely on.
func (e *exporter) labels() ([]cnb.Label, error) {
	build, err := cnb.EncodeBuildMetadata(e.Built.Metadata, e.Launcher.Metadata, e.PlatformAPI)
	if err != nil {
		return nil, fmt.Errorf("encode label %s: %w", cnb.LabelBuildMetadata, err)
	}
	project, err := json.Marshal(e.Project)
	if err != nil {
		return nil, fmt.Errorf("encode label %s: %w", cnb.LabelProjectMetadata, err)
	}
	labels := []cnb.Label{
		{Key: cnb.LabelBuildMetadata, Value: string(build)},
		{Key: cnb.LabelProjectMetadata, Value: string(project)},
	}
	for _, l := range e.Built.Metadata.Labels {
		switch l.Key {
		case cnb.LabelLifecycleMetadata, cnb.LabelBuildMetadata, cnb.LabelProjectMetadata:
			e.emit(Event{Kind: EventWarning, Text: fmt.Sprintf("a buildpack sets the label %s, which belongs to the platform: ignored", l.Key)})
			continue
		}
		labels = append(labels, l)
	}
	if e.PlatformAPI.AtLeast(0, 15) && e.ExecEnv != "" {
		labels = append(labels, cnb.Label{Key: cnb.LabelExecEnv, Value: e.ExecEnv})
	}
	return labels, nil
}
