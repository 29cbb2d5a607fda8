// Package platform runs one build from source to image: it resolves the builder and the run image,
// starts the build container and the collector, runs the phases of package builder over them, and
// writes the result to its outputs. The command line and the service's workers both call it. It knows
// no flags, no database and no terminal.
package platform

import (
	"io"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// Options says what to build, with what, and where the result goes. The zero value of every optional
// field means the documented default. Environment, proxies and files of the user arrive here already
// read: below this package's caller nothing looks at the process's environment.
type Options struct {
	// Image is the name of the result. Tags are further names of it, in the same registry.
	Image string
	Tags  []string
	// Source is a directory, a zip file or a tar file (plain or gzip).
	Source string
	// Unwrap takes of an archive whose entries are all in one directory that directory's content (source.Request).
	Unwrap bool
	// Descriptor is a project descriptor to read instead of the source's own project.toml.
	Descriptor string

	// Builder and RunImage are image arguments (a name in the local store, a registry reference, a Docker
	// image, "oci:DIR"). RunImage is empty for the builder's own choice.
	Builder  string
	RunImage string
	// DefaultBuilder is used where neither Builder nor the project descriptor names one.
	DefaultBuilder string
	// RunImageMirrors adds mirrors to run images by name, as `slipway config run-image-mirrors` keeps them.
	RunImageMirrors map[string][]string

	// Buildpacks replaces the builder's order; Pre and Post stand before and after every group. Each is a
	// directory, a .cnb file, an image, or the id[@version] of a buildpack in the builder.
	Buildpacks []string
	Pre, Post  []string
	// NoSystemBuildpacks leaves out those that the builder runs around every group.
	NoSystemBuildpacks bool

	// Env goes to <platform>/env, one file a name; it wins over project.toml.
	Env map[string]string
	// Bindings are service bindings: name -> host directory with a "type" file.
	Bindings map[string]string
	ExecEnv  string // "production" when empty

	// Output is where the image goes; see Output.
	Output Output
	// Compression is the form of the layers that the build makes; the zero value is gzip.
	Compression layerstore.Compression

	Cache Cache
	// PreviousImage is an image argument; empty means Image as it stands at the output.
	PreviousImage string

	DefaultProcess string
	Created        time.Time // zero: the reference's constant, 1980-01-01T00:00:01Z
	Project        cnb.ProjectMetadata

	// Network is the build container's network: "" or "bridge", "host", "none", or a network's name.
	Network string
	// Volumes are extra mounts of the build container.
	Volumes []Volume
	// Target is the platform to build for, "os/arch[/variant]"; empty means the machine's own.
	Target string
	// Workspace is the app's directory in the image and in the build container; empty means /workspace,
	// and /app where a buildpack is a classic one.
	Workspace string
	// UID and GID override the CNB user of the builder for the app image's files; nil means the builder's.
	UID, GID *int

	Pull image.Policy

	// Trust is what the host trusts: it reaches the build container, never an image or a cache key.
	Trust Trust
	// Proxy holds HTTP_PROXY and its relatives as "NAME=value".
	Proxy []string

	Limits Limits
	// Raise tells how whoever reads an error raises a limit ("with --memory"), by its name. Nothing is said of the others.
	Raise map[string]string

	// SBOMDir and ReportDir are host directories that receive the SBOM files and report.toml.
	SBOMDir, ReportDir string

	// ShowDetect writes the output of every detect, also of those that pass.
	ShowDetect bool

	// Stops are where the build waits for a person.
	Stops Stops
}

// Output says where an image is written. Exactly one kind is used; the zero value is Docker when there
// is an engine and the local store when there is none.
type Output struct {
	Publish bool   // to the registry that the image's name says
	OCI     string // to an OCI layout directory
	Store   bool   // to the local image store

	// ByDigest, with Publish, leaves the tags in the registry as they are: blobs and manifest are pushed under the
	// digest, and who reads the result moves the tags.
	ByDigest bool
}

// Cache says where build layers are kept between builds. The zero value keeps them in the local store,
// under the image's name.
type Cache struct {
	Key   string // replaces the image's name as key of the local cache
	Image string // keeps them in a registry image instead
	Clear bool   // forgets what is kept before the build
}

// Trust is a bundle of CA certificates in PEM, as a file's bytes.
type Trust struct {
	Bundle []byte
	// Extra is PEM of --ca-cert; it is part of Bundle too.
	Extra []byte
}

// Volume is one extra mount of the build container.
type Volume struct {
	Source, Target string
	ReadOnly       bool
}

// Limits bound the build and its container. A zero field is the default for a developer's machine: the host's
// memory less a reserve, 4,096 processes, no time limit, 50 GiB of disk.
type Limits struct {
	Memory int64
	CPUs   float64
	PIDs   int64
	Disk   int64
	Time   time.Duration
	Source int64 // bytes of the unpacked source; 0: package source's limit
}

// The names of limits in Options.Raise.
const (
	LimitMemory = "memory"
	LimitPIDs   = "pids"
	LimitDisk   = "disk"
	LimitTime   = "time"
)

// A UI receives what happens during a build. Its methods may be called from several goroutines.
type UI interface {
	// Event tells one step.
	Event(Event)
	// Output gives the writers for what one executable prints.
	Output(phase Phase, bp cnb.Ref) (stdout, stderr io.Writer)
}

// Phase is a stage of a build as users see it.
type Phase string

// The phases in the order in which they start.
const (
	PhasePrepare Phase = "prepare"
	PhaseAnalyze Phase = "analyze"
	PhaseDetect  Phase = "detect"
	PhaseRestore Phase = "restore"
	PhaseBuild   Phase = "build"
	PhaseExport  Phase = "export"
)

// EventKind says what an Event tells.
type EventKind string

// The kinds of Event.
const (
	EventPhaseStart EventKind = "phase-start" // Phase begins; with prepare, Text says which runtime was taken and why; with analyze, what it cannot give
	EventPhaseEnd   EventKind = "phase-end"   // Phase ended after Elapsed
	EventExecuted   EventKind = "executed"    // an executable of Buildpack ended in Phase, after Elapsed
	EventEngine     EventKind = "engine"      // Engine holds an event of package builder
	EventNote       EventKind = "note"        // Text is for people
	EventWarning    EventKind = "warning"     // Text tells of something that should be mended
)

// An Event is one step of a build.
type Event struct {
	Kind      EventKind      `json:"kind"`
	Phase     Phase          `json:"phase,omitempty"`
	Buildpack string         `json:"buildpack,omitempty"` // id@version
	Text      string         `json:"text,omitempty"`
	Elapsed   time.Duration  `json:"elapsed,omitempty"`
	Engine    *builder.Event `json:"engine,omitempty"`
}

// A Result is a finished build.
type Result struct {
	Image    string   `json:"image"`
	Tags     []string `json:"tags,omitempty"`
	Where    string   `json:"where"`   // "docker", "store", "registry", "oci:DIR"
	Digest   string   `json:"digest"`  // of the manifest, the same on every output
	ImageID  string   `json:"imageID"` // of the config
	Size     int64    `json:"manifestSize"`
	Bytes    int64    `json:"bytes"` // of all layers, compressed
	Builder  string   `json:"builder"`
	RunImage string   `json:"runImage"`

	Buildpacks []cnb.Ref                `json:"buildpacks"`
	Processes  []string                 `json:"processes"`
	Default    string                   `json:"defaultProcess,omitempty"`
	Layers     int                      `json:"layers"`
	Reused     int                      `json:"layersReused"`
	Pushed     int64                    `json:"bytesPushed,omitempty"` // of layers that a registry did not have
	Timings    map[Phase]time.Duration  `json:"timings"`
	Executed   map[string]time.Duration `json:"executed"` // "build slipway/go@0.1.0" -> time of its process

	// Packages are the images, "name@digest", of buildpacks that are not the builder's own, by id@version.
	Packages map[string]string  `json:"packages,omitempty"`
	Group    []cnb.GroupElement `json:"-"` // Buildpacks, with all that is known of each
	Launch   []cnb.Process      `json:"-"` // Processes, with what they start
}
