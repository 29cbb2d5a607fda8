package outbox

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
)

// KindOf is the kind of forge that a repository is on, as far as its host alone tells; "" where it does not.
func KindOf(repository string) build.ForgeKind {
	host, _ := build.RepositoryPath(repository)
	return map[string]build.ForgeKind{
		"github.com": build.ForgeGitHub, "gitlab.com": build.ForgeGitLab, "bitbucket.org": build.ForgeBitbucket, "codeberg.org": build.ForgeGitea, "gitea.com": build.ForgeGitea,
	}[host]
}

// APIOf is where the API of a repository's forge is, where it is where it usually is.
func APIOf(kind build.ForgeKind, repository string) string {
	host, path := build.RepositoryPath(repository)
	if u, err := url.Parse(repository); err == nil && u.Scheme == "https" {
		host = u.Host // with its port
	}
	switch {
	case kind == build.ForgeGitHub && host == "github.com":
		return "https://api.github.com"
	case kind == build.ForgeBitbucket:
		return "https://api.bitbucket.org/2.0"
	case kind == build.ForgeGitHub:
		return "https://" + host + "/api/v3"
	case kind == build.ForgeGitLab:
		return "https://" + host + "/api/v4"
	case kind == build.ForgeGitea:
		return "https://" + host + "/api/v1"
	}
	below := ""
	if i := strings.Index(path, "scm/"); i > 0 { // the server is below a path of its host
		below = "/" + strings.TrimSuffix(path[:i], "/")
	}
	return "https://" + host + below + "/rest/api/latest"
}

// pathOf is how the API of a forge calls a repository: owner/name, where GitLab may have groups in groups.
func pathOf(kind build.ForgeKind, repository string) string {
	_, path := build.RepositoryPath(repository)
	if i := strings.LastIndex("/"+path, "/scm/"); kind == build.ForgeBitbucketServer && i >= 0 {
		path = path[i+len("scm/"):]
	}
	return path
}

// CheckRepository tells why a forge of a kind cannot have a repository.
func CheckRepository(kind build.ForgeKind, repository string) error {
	parts := strings.Split(pathOf(kind, repository), "/")
	for _, p := range parts {
		if p == "" || p == "." || p == ".." {
			parts = nil
		}
	}
	if len(parts) < 2 || len(parts) > 2 && kind != build.ForgeGitLab {
		return fmt.Errorf("the path of a repository of %s is OWNER/NAME", kind)
	}
	return nil
}

// A dialect is how a kind of forge is told of a commit.
type dialect struct {
	path   func(f build.Forge, commit string) string
	states map[build.StatusState]string
	body   func(state string, f build.Forge, s build.CommitStatus, log string, number int64) any
	header func(h http.Header, token string)
}

// A forge that has no word for an error of the build service is told that it failed: the description says whose fault it is.
func dialects() map[build.ForgeKind]dialect {
	hub := map[build.StatusState]string{
		build.StatusPending: "pending", build.StatusRunning: "pending", build.StatusSuccess: "success", build.StatusFailure: "failure", build.StatusError: "error", build.StatusCancelled: "error",
	}
	bucket := func(cancelled string) map[build.StatusState]string {
		return map[build.StatusState]string{
			build.StatusPending: "INPROGRESS", build.StatusRunning: "INPROGRESS", build.StatusSuccess: "SUCCESSFUL", build.StatusFailure: "FAILED", build.StatusError: "FAILED", build.StatusCancelled: cancelled,
		}
	}
	statuses := func(f build.Forge, commit string) string {
		return "/repos/" + escaped(pathOf(f.Kind, f.Repository)) + "/statuses/" + commit
	}
	return map[build.ForgeKind]dialect{
		build.ForgeGitHub: {statuses, hub, hubBody, func(h http.Header, token string) {
			h.Set("Accept", "application/vnd.github+json")
			h.Set("X-GitHub-Api-Version", "2022-11-28")
			h.Set("Authorization", "Bearer "+token)
		}},
		build.ForgeGitea: {statuses, hub, hubBody, func(h http.Header, token string) { h.Set("Authorization", "token "+token) }},
		build.ForgeGitLab: {
			func(f build.Forge, commit string) string {
				return "/projects/" + url.PathEscape(pathOf(f.Kind, f.Repository)) + "/statuses/" + commit
			},
			map[build.StatusState]string{
				build.StatusPending: "pending", build.StatusRunning: "running", build.StatusSuccess: "success", build.StatusFailure: "failed", build.StatusError: "failed", build.StatusCancelled: "canceled",
			},
			labBody, func(h http.Header, token string) { h.Set("PRIVATE-TOKEN", token) },
		},
		build.ForgeBitbucket: {
			func(f build.Forge, commit string) string {
				return "/repositories/" + escaped(pathOf(f.Kind, f.Repository)) + "/commit/" + commit + "/statuses/build"
			},
			bucket("STOPPED"), bucketBody, bucketHeader,
		},
		build.ForgeBitbucketServer: {
			func(f build.Forge, commit string) string {
				project, slug, _ := strings.Cut(pathOf(f.Kind, f.Repository), "/")
				return "/projects/" + url.PathEscape(project) + "/repos/" + url.PathEscape(slug) + "/commits/" + commit + "/builds"
			},
			bucket("CANCELLED"), serverBody, bucketHeader,
		},
	}
}

func escaped(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

func hubBody(state string, f build.Forge, s build.CommitStatus, log string, _ int64) any {
	return map[string]string{"state": state, "target_url": log, "description": s.Description, "context": f.Context}
}

func labBody(state string, f build.Forge, s build.CommitStatus, log string, _ int64) any {
	body := map[string]string{"state": state, "name": f.Context, "target_url": log, "description": s.Description}
	if ref := shortRef(s.Ref); ref != "" {
		body["ref"] = ref
	}
	return body
}

func bucketBody(state string, f build.Forge, s build.CommitStatus, log string, _ int64) any {
	body := map[string]string{"key": f.Context, "state": state, "name": f.Context, "url": log, "description": s.Description}
	if ref, ok := strings.CutPrefix(s.Ref, "refs/heads/"); ok {
		body["refname"] = ref
	}
	return body
}

func serverBody(state string, f build.Forge, s build.CommitStatus, log string, number int64) any {
	body := map[string]string{"key": f.Context, "state": state, "name": f.Context, "url": log, "description": s.Description, "buildNumber": strconv.FormatInt(number, 10)}
	if strings.HasPrefix(s.Ref, "refs/") {
		body["ref"] = s.Ref
	}
	return body
}

// shortRef is a branch or a tag by its name.
func shortRef(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/tags/")
}

// bucketHeader takes an access token, or what has a user before it: an app password, or a token of an account.
func bucketHeader(h http.Header, token string) {
	if strings.Contains(token, ":") {
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(token)))
		return
	}
	h.Set("Authorization", "Bearer "+token)
}

// statusLetter tells a forge of a commit.
func statusLetter(ctx context.Context, f build.Forge, s build.CommitStatus, log string, number int64) (l letter, err error) {
	d, ok := dialects()[f.Kind]
	if !ok {
		return l, &unsendable{fmt.Sprintf("the forge %.40q is not known", f.Kind)}
	}
	body := build.JSON(d.body(d.states[s.State], f, s, log, number))
	l.request, err = http.NewRequestWithContext(ctx, http.MethodPost, f.API+d.path(f, url.PathEscape(s.Commit)), bytes.NewReader([]byte(body)))
	if err != nil {
		return l, &unsendable{"the URL of the forge's API is none"}
	}
	l.request.Header.Set("Accept", "application/json")
	d.header(l.request.Header, f.Token)
	l.secrets = []string{base64.StdEncoding.EncodeToString([]byte(f.Token)), f.Token}
	if _, password, ok := strings.Cut(f.Token, ":"); ok {
		l.secrets = append(l.secrets, password)
	}
	return l, nil
}
