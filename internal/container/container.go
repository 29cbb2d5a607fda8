// Package container is the seam between Slipway and whatever starts containers:
// what to start (Spec), what starts it (Runtime), and how it ended (ExitError,
// LimitError, StartError). It knows no engine; its suite is containertest.
package container

import (
	"context"
	"io"
	"os"
	"time"
)

// Runtime starts one container and waits for it. It is the only thing that
// differs between engines. Safe for concurrent use.
type Runtime interface {
	// Run creates the container, starts it, streams, waits, and returns when it
	// and every process in it are gone and all output has been written.
	//
	// An end other than exit code 0 is an *ExitError, a limit of ours that was
	// hit a *LimitError, a process that never began a *StartError. When ctx ends
	// the container is killed and removed first and the error wraps
	// context.Cause(ctx). Removal after an ordinary end may go on in the
	// background; Close waits for it.
	Run(ctx context.Context, s Spec) error

	// Close waits until everything that this Runtime started is removed, and
	// drops its connections. Not while a Run goes on; it may be used again after.
	Close() error
}

// Preparer is a Runtime that can create a container before it is needed, so
// that its latency hides behind other work.
type Preparer interface {
	Prepare(ctx context.Context, s Spec) (Prepared, error)
}

// Prepared is a container that exists and has not been started.
type Prepared interface {
	// ID is the engine's name for the container.
	ID() string
	// Run attaches and starts; the rest is as Runtime.Run. It may be called once.
	Run(ctx context.Context, s Streams) error
	// State asks the engine about the container, also while it runs.
	State(ctx context.Context) (State, error)
	// Close removes the container and returns when it is gone; running, it is
	// killed first. Must be called, also after Run; more than once is harmless.
	Close() error
}

// Wirer is a Prepared whose network can come up after the start, where its
// Spec says so (Network.Later).
type Wirer interface {
	// Wire connects the container. It may be called once, while it runs.
	Wire(ctx context.Context) error
}

// Reserver is a Runtime whose containers can have user ids of their own on this machine. It sets them aside before there
// is a container, so that files can be given to its user.
type Reserver interface {
	// Reserve sets ids aside for containers that run one after the other. The error says why this machine does not
	// allow it, or the file system of one of the paths, which are what is to be mounted without Mount.Own.
	Reserve(paths ...string) (IDs, error)
}

// IDs are ids of this machine that nobody else has, for the ids 0 to 65535 of a container.
type IDs interface {
	// First is what id 0 of the container is on this machine; the others follow.
	First() int
	// Namespace is the user namespace that has them, with which files can be shown as the container's. It lives until
	// Close.
	Namespace() *os.File
	// Close gives them back. Their container is closed before.
	Close() error
}

// Sweeper is a Runtime that finds what a crashed Slipway left behind.
type Sweeper interface {
	// Sweep removes the containers whose owner is provably dead and returns
	// their ids. A container of another machine, or of a process it cannot
	// judge, stays.
	Sweep(ctx context.Context) ([]string, error)
}

// Streams are a container's standard streams. The zero value is no input (end
// of file at once) and no output.
type Streams struct {
	// Stdin is copied in until its end. If it blocks when the container ends it
	// is interrupted where that is possible (*io.PipeReader is closed, so that
	// its writer sees an error; anything with SetReadDeadline gets one); any
	// other reader keeps one goroutine until its Read returns.
	Stdin io.Reader
	// Stdout and Stderr receive output; a write error kills the container. With
	// a terminal everything comes on Stdout.
	Stdout, Stderr io.Writer
	// Resize carries the sizes of the user's terminal, if there is one.
	Resize <-chan Size
	// Started is called once, after the start and before Run returns. It must
	// not block: Run looks at nothing else meanwhile.
	Started func(Info)
}

// Size is a terminal's size in characters.
type Size struct{ Rows, Columns int }

// Info is what is known of a container once it runs.
type Info struct {
	ID    string
	Ports []Port // as Spec.Ports, with the host ports in fact taken
	// Without is a line on what its Runtime gives to containers and could not give to this one, and why; mostly empty.
	Without string
}

// State is a container as its engine sees it now.
type State struct {
	Running bool
	// OutOfMemory: the kernel has killed a process in it for lack of memory,
	// not necessarily the first one.
	OutOfMemory bool
	Code        int // exit code, when no longer running
}

// Spec is one container. The zero value of everything but Image is the safe
// choice: no capabilities, no new privileges, the engine's seccomp profile. Its
// engine's socket can never be mounted. UID 0 is root all the same: say who it
// runs as.
type Spec struct {
	// Name is the engine's name for it; empty: made up. A taken name is an error.
	Name string
	// Image is an image's config digest or the engine's id. Runtimes do not pull.
	Image string
	// Platform is os/arch[/variant]; empty: the image's.
	Platform string
	// Argv is the whole command line, instead of the image's entrypoint and
	// command. Empty: the image's own, with Args as its arguments if there are any.
	Argv, Args []string
	// Env (NAME=value) is added to the image's environment; a NAME alone is
	// taken out of it.
	Env []string
	// Dir is the working directory; empty: the image's.
	Dir string
	// Hostname is the same on every machine ("slipway") when empty, so that no
	// output depends on it.
	Hostname string
	// UID and GID run it, unless ImageUser, which is for finished apps.
	UID, GID  int
	ImageUser bool
	// Groups are supplementary group ids.
	Groups []int

	// IDs are what the container's ids are on this machine, from its Runtime's Reserve. nil: ids of its own where the
	// Runtime has them and all mounts allow it, else the same ids as on the machine.
	IDs IDs

	Mounts []Mount
	// Tmpfs are directories in memory (counted as such): path -> bytes, 0 for no
	// limit but the memory's.
	Tmpfs map[string]int64
	// ReadOnlyRoot forbids writes outside mounts and tmpfs.
	ReadOnlyRoot bool

	Network Network
	Ports   []Port

	Limits Limits
	// DiskUsage measures what the container wrote into the caller's mounts.
	// The runtime adds what it wrote to its own root.
	DiskUsage func(ctx context.Context) (int64, error)
	// DiskEvery is the time between measurements; 0 is one second. Measuring
	// never takes more than about a tenth of the time.
	DiskEvery time.Duration
	// OnDisk is told each measurement.
	OnDisk func(used int64)

	// Capabilities are kept when all others are dropped ("CHOWN"). For the
	// collector; foreign code gets none.
	Capabilities []string
	// AllowNewPrivileges lets setuid programs work. Never for foreign code.
	AllowNewPrivileges bool

	// Labels are put on the container besides the runtime's own.
	Labels map[string]string
	// Terminal gives it a terminal of Streams.Resize's sizes.
	Terminal bool
	// Grace is how long after SIGTERM a cancelled container may take to end by
	// itself. 0: killed at once, as builds are.
	Grace time.Duration

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
	Started        func(Info)
}

// Streams returns the stream fields, as Prepared.Run takes them.
func (s Spec) Streams() Streams {
	return Streams{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, Resize: s.Resize, Started: s.Started}
}

// Mount makes a host directory or file (Source an absolute path, which must
// exist) or a named volume visible at Target.
type Mount struct {
	Source, Target string
	ReadOnly       bool
	Volume         bool // Source is a volume's name
	// Slave shows what is mounted on Source or below it later in the container too, and nothing the other way. Source
	// has to be a mount that is shared, where the engine finds it; else the container does not start.
	Slave bool
	// Own says that Source's files belong to Spec.IDs on disk. All others show in the container with the owners that
	// they have on disk, whatever its ids are here.
	Own bool
}

// Network says what it can reach.
type Network struct {
	Mode string // "bridge" (also ""), "none", "host" or a network's name
	// ExtraHosts are "name:ip" lines for its hosts file.
	ExtraHosts []string
	// Later leaves a network of its own unconnected until Wirer.Wire. A runtime
	// whose containers are no Wirer connects at once.
	Later bool
	// Public refuses private, link-local and metadata addresses, but for name
	// servers and what the runtime was told to allow. Runtimes that cannot do so
	// connect to everything.
	Public bool
}

// Port publishes a port of the container on the host.
type Port struct {
	Container int
	Host      int    // 0: any free one
	Protocol  string // "tcp" (also "") or "udp"
	HostIP    string // "127.0.0.1" when empty: other machines must be asked for
}

// Limits bound a container. 0 is no limit.
type Limits struct {
	Memory int64 // bytes, with no swap on top
	CPUs   float64
	PIDs   int64 // processes and threads
	Disk   int64 // bytes; a watcher's limit, so it can be passed by what is written between two looks
	Time   time.Duration
}
