package build

import "strings"

// A Source is what a build is made of.
type Source struct {
	// Stored is the key of a tarball in the source store; it is there before a pushed or uploaded build is accepted.
	Stored string `json:"stored,omitempty"`
	// URL is a tarball (https://...) or a git repository (see Git) to fetch when the build runs.
	URL string `json:"url,omitempty"`
	Git bool   `json:"git,omitempty"`
	// Query is the sealed query of URL, where signed URLs have their secret: URL has it only before the build is recorded,
	// and where it is fetched.
	Query []byte `json:"query,omitempty"`
	// Packed tells that it is an archive as somebody made it, who may have put everything into one directory.
	Packed      bool   `json:"packed,omitempty"`
	Ref         string `json:"ref,omitempty"` // of a git repository, resolved to Commit when the build is made
	Commit      string `json:"commit,omitempty"`
	Dir         string `json:"dir,omitempty"`      // of a git repository: the directory that alone is the app, "" is the root
	Checksum    string `json:"checksum,omitempty"` // "SHA256:<hex>" of the tarball
	Version     string `json:"version,omitempty"`
	Description string `json:"description,omitempty"` // one line, as its author wrote it
	Submodules  bool   `json:"submodules,omitempty"`
}

// maxSubject is the characters of a commit's message that are kept with its build.
const maxSubject = 200

// Subject is the first line of a commit's message, made fit to be a Source's Description.
func Subject(message string) string {
	first, _, _ := strings.Cut(message, "\n")
	return shorten(first, maxSubject)
}
