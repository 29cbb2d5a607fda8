// Package builder is the Cloud Native Buildpacks lifecycle as a library: Analyze, Detect, Generate, Restore, Build,
// Export and Rebase are functions over the directories of one build and a Runner that starts buildpack executables.
//
// It holds no credentials, talks to no registry and writes no log. Progress is reported as Events, output of
// buildpacks goes to writers that the caller gives, and every result is a value that can cross a process
// boundary as JSON. What a buildpack leaves behind is read as hostile: capped, never through a link that leaves
// its directory, never from anything but a regular file.
//
// # Where the spec and the reference lifecycle disagree
//
// Images are the reference's, byte for byte (see Compose); files are read in both forms where that does no harm. Else
// the spec is followed, unless platforms have come to rely on the reference. "The reference" is version 0.21.17.
//
//   - exec-env of a buildpack: the spec has [[buildpack.exec-env]] tables with a name, the reference a list of strings.
//     Both are read.
//   - variant of a target: "variant" in the spec, "arch-variant" in the reference, in buildpack.toml and analyzed.toml.
//     Both are read and, in analyzed.toml, both are written.
//   - optional of a system buildpack: dropped by the reference, so that all are required. The spec is followed.
//   - exec-env of a group's element: not read by the reference. The spec is followed.
//   - exec-env in a layer's metadata, which would restrict the layer: not done by either.
//   - exec-env in the lifecycle metadata label: the reference sets the label io.buildpacks.exec-env instead, which
//     others read. So do we.
//   - A previous image of another execution environment: the spec lets its metadata be ignored, the reference uses
//     it. It is ignored: a test build's layers are not a production image's.
//   - PATH of an app image: /cnb/process alone in the spec, /cnb/process and /cnb/lifecycle in the reference, with
//     CNB_PLATFORM_API and CNB_DEPRECATION_MODE as further variables. As the reference: it is part of the image.
//   - Environment of buildpacks: the spec has no list of what passes from the build image; the reference has one. It is
//     ours too.
//   - CNB_EXPERIMENTAL_MODE: unset is an error in both; "silent" (spec) and "quiet" (reference) are both taken.
//   - An order that contains itself: the reference recurses without end. It is an *OrderError.
//   - Detection that fails with a detect that went wrong: exit status 21 in the spec; the reference gives 20 where the
//     last group merely failed. The spec is followed.
//   - A file that a buildpack left and that the spec does not allow: the reference gives 52, the spec 51 for what is
//     the buildpack's fault. The spec is followed.
//   - A flag that a phase does not know: 3 in the spec, 2 in the reference. The spec is followed.
//   - The setuid and setgid bits of files in layers: the reference keeps them. They are taken away with a warning: what
//     a build downloads has no say over whose rights the app runs with.
//   - A group of image extensions alone: the reference takes it. The spec wants a buildpack in every group.
//   - A layer that is for nothing (no type set): the spec wants its directory renamed to <layer>.ignore, which both do.
//   - Rebase: the variant of the run image is taken (spec), where the reference leaves none; the manifest keeps its kind,
//     where the reference writes Docker's with whatever layers; history and what stands beside "config" are dropped, as
//     the reference does, because they are part of the image. A top layer that stands in the run image twice ends it at
//     the last one, numbers in layers' metadata keep their digits.
package builder
