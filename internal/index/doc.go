// Package index is the buildpack registry index: it says which image a buildpack's id and version mean.
//
// An index is a tree of small files, one a buildpack, one line a version (extensions/buildpack-registry of the spec).
// Read takes one from a directory or a tar, Sync from a git repository; what was good in it goes into a read model on
// disk, which Open reads in part: a look-up costs one small read, and a sync beside it replaces the file as a whole.
// A Set is the indexes that a user has named, in order.
//
// Everything in an index is somebody else's: names are checked before they become paths, lines are bounded, and a line
// that is wrong is a Fault of its own, told with file and line, which keeps no other version from being found.
package index
