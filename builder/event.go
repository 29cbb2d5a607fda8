package builder

import (
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// An EventKind says what an Event reports.
type EventKind string

// The kinds of events, by phase. Text is always one line for a reader.
const (
	EventDetectPass  EventKind = "detect-pass"  // Buildpack said yes; Duration
	EventDetectFail  EventKind = "detect-fail"  // Buildpack said no (exit status 100)
	EventDetectError EventKind = "detect-error" // Buildpack's detect went wrong; Code, Text
	EventDetectSkip  EventKind = "detect-skip"  // Buildpack is left out of its group; Text says why
	EventGroupFailed EventKind = "group-failed" // one group of the order is out; Text says why
	EventGroupChosen EventKind = "group-chosen" // a group is chosen; Text lists its buildpacks

	EventGenerateStart EventKind = "generate-start" // the extension's bin/generate starts
	EventGenerateDone  EventKind = "generate-done"  // the extension's bin/generate and what it left is in order

	EventBuildStart EventKind = "build-start" // Buildpack's bin/build starts
	EventBuildDone  EventKind = "build-done"  // Buildpack's bin/build and what it left is in order; Duration

	EventLayerRestoredMetadata EventKind = "layer-restored-metadata" // <layer>.toml; Text is "app image" or "cache"
	EventLayerRestoredData     EventKind = "layer-restored-data"     // contents, from the cache; Bytes
	EventLayerAdded            EventKind = "layer-added"             // to the image; Text is the Layer's ID; Bytes
	EventLayerReused           EventKind = "layer-reused"            // from the previous image; Text is the Layer's ID
	EventCacheAdded            EventKind = "cache-added"             // to the cache; Text is the Layer's ID; Bytes
	EventCacheReused           EventKind = "cache-reused"            // already in the cache; Text is the Layer's ID

	EventWarning EventKind = "warning" // worth a reader's notice; the build goes on
)

// An Event reports progress. It is flat, so that it can cross a process boundary as JSON and be printed without
// knowledge of the phase it came from. Fields that mean nothing for a kind are zero.
type Event struct {
	Kind      EventKind     `json:"kind"`
	Buildpack cnb.Ref       `json:"buildpack,omitzero"`
	Extension bool          `json:"extension,omitempty"` // Buildpack is an image extension
	Layer     string        `json:"layer,omitempty"`
	Text      string        `json:"text,omitempty"`
	Code      int           `json:"code,omitempty"`
	Duration  time.Duration `json:"duration,omitempty"`
	Bytes     int64         `json:"bytes,omitempty"`
	Reused    bool          `json:"reused,omitempty"`
}

// emitter calls f, which may be nil.
func emitter(f func(Event)) func(Event) {
	if f == nil {
		return func(Event) {}
	}
	return f
}
