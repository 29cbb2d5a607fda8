// Package builder is the Cloud Native Buildpacks lifecycle as a library: Analyze, Detect, Restore, Build and
// Export are functions over the directories of one build and a Runner that starts buildpack executables.
//
// It holds no credentials, talks to no registry and writes no log. Progress is reported as Events, output of
// buildpacks goes to writers that the caller gives, and every result is a value that can cross a process
// boundary as JSON. What a buildpack leaves behind is read as hostile: capped, never through a link that leaves
// its directory, never from anything but a regular file.
package builder
