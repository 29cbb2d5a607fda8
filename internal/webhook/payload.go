package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// What is read of a payload, at most. GitHub names 2048 commits, GitLab 20.
const (
	maxDepth   = 64
	maxCommits = 2048
	maxRefs    = 100
	maxPaths   = 10_000 // of all commits of a change
	maxPath    = 1024   // bytes
	maxMessage = 8 << 10
)

// bounded refuses JSON that is nested deeper than any forge's.
func bounded(text []byte) *Refusal {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return &Refusal{http.StatusBadRequest, CodeTooDeep, "the JSON of the body is nested too deep"}
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// A commit of a push.
type commit struct {
	ID       string `json:"id"`
	Message  string `json:"message"`
	Added    some   `json:"added"`
	Removed  some   `json:"removed"`
	Modified some   `json:"modified"`
}

// some is the beginning of a list of texts.
type some []string

// UnmarshalJSON is encoding/json's. What is too much is not kept.
func (s *some) UnmarshalJSON(text []byte) error {
	return each(text, maxPaths+1, func(d *json.Decoder) error {
		var v string
		err := d.Decode(&v)
		*s = append(*s, v)
		return err
	})
}

// commits is the beginning of a list of commits.
type commits []commit

// UnmarshalJSON is encoding/json's. What is too much is not kept.
func (s *commits) UnmarshalJSON(text []byte) error {
	return each(text, maxCommits+1, func(d *json.Decoder) error {
		var v commit
		err := d.Decode(&v)
		*s = append(*s, v)
		return err
	})
}

// each decodes the first elements of a JSON array.
func each(text []byte, most int, next func(*json.Decoder) error) error {
	d := json.NewDecoder(bytes.NewReader(text))
	open, err := d.Token()
	if err != nil || open == nil { // null
		return err
	}
	if open != json.Delim('[') {
		return &json.UnmarshalTypeError{Value: "value"}
	}
	for n := 0; n < most && d.More(); n++ {
		if err := next(d); err != nil {
			return err
		}
	}
	return nil
}

// decode reads a payload. What a forge adds to its payloads is none of our business.
func decode(text []byte, into any) *Refusal {
	if json.Unmarshal(text, into) != nil {
		return malformed("the body is no JSON of such an event")
	}
	return nil
}

// A push as GitHub has it, and Gitea and Forgejo.
type githubPush struct {
	Ref        string  `json:"ref"`
	Before     string  `json:"before"`
	After      string  `json:"after"`
	Deleted    bool    `json:"deleted"`
	Forced     bool    `json:"forced"`
	Commits    commits `json:"commits"`
	Total      int     `json:"total_commits"` // Gitea's: it names few
	HeadCommit *commit `json:"head_commit"`
	Repository struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
}

// readHub reads GitHub's, and Gitea's and Forgejo's.
func readHub(e *Event, text []byte) *Refusal {
	switch e.Name {
	case "push":
		e.Kind = Push
	case "ping":
		e.Kind = Ping
		return nil
	default:
		e.Kind = Other
		return nil
	}
	var p githubPush
	if refusal := decode(text, &p); refusal != nil {
		return refusal
	}
	c := Change{Ref: p.Ref, Before: p.Before, Commit: p.After, Forced: p.Forced}
	if p.Deleted {
		c.Commit = ""
	}
	if p.HeadCommit != nil && strings.HasPrefix(p.Ref, "refs/tags/") && !c.Deleted() && p.HeadCommit.ID != "" {
		c.Commit = p.HeadCommit.ID // where after is the tag itself
	}
	c.take(p.Commits, p.HeadCommit, max(p.Total, 0))
	e.Repository, e.Changes = p.Repository.FullName, []Change{c}
	return nil
}

// take keeps of the commits of a push what is needed: the last one's message, and all paths. total is how many there are.
func (c *Change) take(all commits, head *commit, total int) {
	if len(all) >= maxCommits || total > len(all) || len(all) == 0 {
		c.Unknown = true
	}
	if len(all) > maxCommits {
		all = all[:maxCommits]
	}
	seen := map[string]bool{}
	for _, one := range all {
		if one.ID == c.Commit {
			c.Message = one.Message
		}
		for _, list := range []some{one.Added, one.Removed, one.Modified} {
			for _, path := range list {
				if len(path) > maxPath || len(seen) >= maxPaths {
					c.Unknown = true
				} else if !seen[path] {
					seen[path] = true
					c.Paths = append(c.Paths, path)
				}
			}
		}
	}
	if c.Message == "" && head != nil && head.ID == c.Commit {
		c.Message = head.Message
	}
	c.Message = c.Message[:min(len(c.Message), maxMessage)]
}

type gitlabPush struct {
	Kind     string  `json:"object_kind"`
	Ref      string  `json:"ref"`
	Before   string  `json:"before"`
	After    string  `json:"after"`
	Checkout *string `json:"checkout_sha"`
	Commits  commits `json:"commits"`
	Total    int     `json:"total_commits_count"`
	Project  struct {
		Path string `json:"path_with_namespace"`
	} `json:"project"`
}

func readGitLab(e *Event, text []byte) *Refusal {
	e.Kind = Other
	switch e.Name {
	case "Push Hook", "Tag Push Hook", "System Hook":
	default:
		return nil
	}
	var p gitlabPush
	if refusal := decode(text, &p); refusal != nil {
		return refusal
	}
	if p.Kind != "push" && p.Kind != "tag_push" {
		return nil // a system hook is of everything
	}
	e.Kind = Push
	c := Change{Ref: p.Ref, Before: p.Before, Commit: p.After}
	if p.Kind == "tag_push" && p.Checkout != nil && strings.Trim(p.After, "0") != "" {
		c.Commit = *p.Checkout // where after is the tag itself
	}
	c.take(p.Commits, nil, max(p.Total, 0))
	e.Repository, e.Changes = p.Project.Path, []Change{c}
	return nil
}
