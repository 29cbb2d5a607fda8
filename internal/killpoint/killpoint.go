// Package killpoint names the places between two steps where the death of the service matters most, so that a test can
// have it die at each of them and look at what the next start makes of that. Nothing but the variable of the environment
// makes a point do anything.
package killpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Variable of the environment names the point at which the process kills itself, "name" or "name:n" for the n-th time
// that it is passed. It is read once, here and not in cmd: a point is passed by packages that have no configuration of
// the process's, and it must never be a setting.
const Variable = "SLIPWAY_KILLPOINT"

// A Point is a place in the service.
type Point string

// The points, in the order in which a push passes them, and then the others.
const (
	SourceKept    Point = "source-kept"    // the source of a push is stored, no build is recorded
	BuildRecorded Point = "build-recorded" // a build is recorded and has no log
	LogMade       Point = "log-made"       // nobody was told of the build
	Claimed       Point = "claimed"        // a worker has the build and nothing of it runs
	LogBegun      Point = "log-begun"      // its log is open
	BeatRecorded  Point = "beat-recorded"  // it runs
	BlobStored    Point = "blob-stored"    // a blob of its image is in the registry, no manifest
	ManifestPut   Point = "manifest-put"   // the manifest is written and not yet acknowledged
	ImagePushed   Point = "image-pushed"   // the image is there by its digest, the service has not heard
	Deciding      Point = "deciding"       // the service has heard, a push that waits was not asked
	RefStands     Point = "ref-stands"     // the ref stands where the push found it
	CommitKept    Point = "commit-kept"    // what was pushed survives its quarantine
	Settled       Point = "settled"        // other pushes wait for this one's end
	Finished      Point = "finish-recorded"
	LogClosed     Point = "log-closed"
	TagMoved      Point = "tag-moved" // and that is not recorded
	TagRecorded   Point = "tag-recorded"
	LettingGo     Point = "push-passes"  // the hook was not told yet that the push may pass
	LetGo         Point = "push-passed"  // the hook was told: git may have moved the refs, or not
	RefMoved      Point = "ref-moved"    // and that is not recorded
	RefRecorded   Point = "ref-recorded" // what was kept for it is not let go yet
	Detached      Point = "detached"     // the build of a push that does not wait is recorded, its ref has not moved

	Reaped      Point = "reaped"       // a start took builds back from the process before
	LogsClosed  Point = "logs-closed"  // a start has ended the logs of that
	RefRepaired Point = "ref-repaired" // a start has moved the ref of a push that could not, which is not recorded

	HookRecorded     Point = "hook-recorded"     // a delivery and its build are recorded, and the forge was not told
	CancelRecorded   Point = "cancel-recorded"   // nobody who follows the build was told
	CommandStarts    Point = "command-starts"    // a release is pending
	CommandRan       Point = "command-ran"       // how it ended is not recorded
	CommandRecorded  Point = "command-recorded"  // the release has not its name yet
	RollbackRecorded Point = "rollback-recorded" // nor has this one
	AppRecorded      Point = "app-recorded"      // the app has no repository yet
	AppChanged       Point = "app-changed"       // its repository does not know yet
	AppDeleted       Point = "app-deleted"       // what it has outside of the record is there still
	UploadStored     Point = "upload-stored"     // the place where it was put does not know yet
	SourcesPruned    Point = "sources-pruned"    // upkeep has more to do
	ManifestsDropped Point = "manifests-dropped" // their blobs are there still
	MessageBegun     Point = "message-begun"     // nothing of a message that is recorded was sent
	MessageTaken     Point = "message-taken"     // who it is for has it, and that is not recorded
	PackageRecorded  Point = "package-recorded"  // what a buildpack that is registered says of itself; the index has no commit yet
	IndexCommitted   Point = "index-committed"   // the index has the commit, and who asked was not told
	IndexPushed      Point = "index-pushed"      // a push to the index was found good, and its ref has not moved
	SetupRecorded    Point = "setup-recorded"    // a setup and its app are recorded, and nobody was told
	SetupBuilding    Point = "setup-building"    // the build that it will ask for is recorded with it, and not asked for
	PostdeployRan    Point = "postdeploy-ran"    // how it ended is not recorded
	SetupFailing     Point = "setup-failing"     // why it failed is recorded, and its app is there still
	SetupRemoved     Point = "setup-removed"     // its app is gone, and the setup has not ended
)

// All is every point.
func All() []Point {
	return []Point{
		SourceKept, BuildRecorded, LogMade, Claimed, LogBegun, BeatRecorded, BlobStored, ManifestPut, ImagePushed, Deciding,
		RefStands, CommitKept, Settled, Finished, LogClosed, TagMoved, TagRecorded, LettingGo, LetGo, RefMoved, RefRecorded, Detached,
		Reaped, LogsClosed, RefRepaired,
		HookRecorded, CancelRecorded, CommandStarts, CommandRan, CommandRecorded, RollbackRecorded, AppRecorded, AppChanged, AppDeleted,
		UploadStored, SourcesPruned, ManifestsDropped, MessageBegun, MessageTaken, PackageRecorded, IndexCommitted, IndexPushed,
		SetupRecorded, SetupBuilding, PostdeployRan, SetupFailing, SetupRemoved,
	}
}

// armed is the point at which to die, and how often it will have been passed by then.
type armed struct {
	point Point
	left  atomic.Int64
}

var armedOnce = sync.OnceValue(func() *armed {
	a := &armed{}
	name, count, _ := strings.Cut(os.Getenv(Variable), ":")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n < 1 {
		n = 1
	}
	a.point = Point(name)
	a.left.Store(n)
	return a
})

// Here says that the process is at a point. Where that is the one to die at, it does not return: the process is gone as
// if somebody had killed it, with nothing closed and nobody told.
func Here(p Point) {
	a := armedOnce()
	if a.point != p || a.left.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
