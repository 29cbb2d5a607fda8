package agent

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// roleCollector is what a collector calls itself.
const roleCollector = "collector"

// detectRequest is the part of builder.DetectInput that crosses the wire.
type detectRequest struct {
	PlatformAPI cnb.API      `json:"platform-api"`
	Dirs        builder.Dirs `json:"dirs"`
	Order       cnb.Order    `json:"order"`
	System      cnb.System   `json:"system"`
	Target      cnb.Target   `json:"target"`
	StackID     string       `json:"stack-id,omitempty"`
	ExecEnv     string       `json:"exec-env,omitempty"`
	Env         []string     `json:"env,omitempty"`
	MaxTrials   int          `json:"max-trials,omitempty"`
	Every       bool         `json:"every,omitempty"`
}

// buildRequest is the part of builder.BuildInput that crosses the wire.
type buildRequest struct {
	PlatformAPI cnb.API         `json:"platform-api"`
	Dirs        builder.Dirs    `json:"dirs"`
	Group       cnb.Group       `json:"group"`
	Plan        json.RawMessage `json:"plan"`
	Target      cnb.Target      `json:"target"`
	StackID     string          `json:"stack-id,omitempty"`
	ExecEnv     string          `json:"exec-env,omitempty"`
	Env         []string        `json:"env,omitempty"`
}

// decodeExact is decode for answers that the parent hands back later: numbers in free-form metadata keep their digits.
func decodeExact(b []byte, v any) error {
	if err := countJSON(b, maxTokens); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(v)
}

// Detect is builder.Detect in the collector. Of in, Catalog, Runner, Emit and Stdio are not used: they are what was
// given to Catalog, and the Host.
func (c *Collector) Detect(ctx context.Context, in builder.DetectInput) (*builder.Detected, error) {
	var raw json.RawMessage
	err := c.call(ctx, "detect", detectRequest{
		PlatformAPI: in.PlatformAPI, Dirs: in.Dirs, Order: in.Order, System: in.System, Target: in.Target,
		StackID: in.StackID, ExecEnv: in.ExecEnv, Env: in.Env, MaxTrials: in.MaxTrials, Every: in.Every,
	}, &raw)
	if err != nil {
		return nil, err
	}
	out := &builder.Detected{}
	return out, decodeExact(raw, out)
}

// Build is builder.Build in the collector, with the same exceptions as Detect.
func (c *Collector) Build(ctx context.Context, in builder.BuildInput) (*builder.Built, error) {
	plan, err := encode(in.Plan)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	err = c.call(ctx, "build", buildRequest{
		PlatformAPI: in.PlatformAPI, Dirs: in.Dirs, Group: in.Group, Plan: plan, Target: in.Target,
		StackID: in.StackID, ExecEnv: in.ExecEnv, Env: in.Env,
	}, &raw)
	if err != nil {
		return nil, err
	}
	out := &builder.Built{}
	return out, decodeExact(raw, out)
}

// A RestoreRequest is the part of builder.RestoreInput that crosses the wire.
type RestoreRequest struct {
	PlatformAPI cnb.API            `json:"platform-api"`
	Dirs        builder.Dirs       `json:"dirs"`
	Group       cnb.Group          `json:"group"`
	Previous    cnb.LayersMetadata `json:"previous"`
	HasCache    bool               `json:"has-cache,omitempty"`
	Cache       cnb.CacheMetadata  `json:"cache"` // of the cache where HasCache
	SkipLayers  bool               `json:"skip-layers,omitempty"`
	Limits      builder.Limits     `json:"limits"`
	// InPlace are layers that Unpack made and that are seen below <layers> already.
	InPlace []builder.PlacedLayer `json:"in-place,omitempty"`
}

// Restore is builder.Restore in the collector. Cached layers and the previous image's SBOM layer (Previous.BOM) come
// from Host.Blob; one that the Host has not is a miss. Progress goes to Host.Emit.
func (c *Collector) Restore(ctx context.Context, r RestoreRequest) error {
	return c.call(ctx, "restore", r, nil)
}

// exportRequest is the part of builder.ExportInput that crosses the wire.
type exportRequest struct {
	PlatformAPI   cnb.API             `json:"platform-api"`
	Dirs          builder.Dirs        `json:"dirs"`
	Group         cnb.Group           `json:"group"`
	Built         json.RawMessage     `json:"built"`
	Previous      cnb.LayersMetadata  `json:"previous"`
	Cache         bool                `json:"cache,omitempty"`
	PreviousCache cnb.CacheMetadata   `json:"previous-cache"`
	Launcher      builder.Launcher    `json:"launcher"`
	Unchanged     map[string]string   `json:"unchanged,omitempty"`
	ProcessType   cnb.ProcessType     `json:"process-type,omitempty"`
	ExecEnv       string              `json:"exec-env,omitempty"`
	Project       cnb.ProjectMetadata `json:"project"`
	LayersOnly    bool                `json:"layers-only,omitempty"`
	Limits        builder.Limits      `json:"limits"`
	// Compression is the form of layers that are sent.
	Compression layerstore.Compression `json:"compression,omitempty"`
}

// Export is builder.Export in the collector; its sink is Host.Layer, which gets layers in the form z, its Emit the
// Host's. in.Launcher.Path is a path where the collector runs.
func (c *Collector) Export(ctx context.Context, in builder.ExportInput, z layerstore.Compression) (*builder.Exported, error) {
	built, err := encode(in.Built)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	err = c.call(ctx, "export", exportRequest{
		PlatformAPI: in.PlatformAPI, Dirs: in.Dirs, Group: in.Group, Built: built, Previous: in.Previous,
		Cache: in.Cache, PreviousCache: in.PreviousCache, Unchanged: in.Unchanged, Launcher: in.Launcher, ProcessType: in.ProcessType,
		ExecEnv: in.ExecEnv, Project: in.Project, LayersOnly: in.LayersOnly, Limits: in.Limits, Compression: z,
	}, &raw)
	if err != nil {
		return nil, err
	}
	out := &builder.Exported{}
	return out, decodeExact(raw, out)
}
