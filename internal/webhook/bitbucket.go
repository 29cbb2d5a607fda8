package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// changes is the beginning of a list of one form of change or the other: Bitbucket Cloud's or Data Center's.
type changes[T any] []T

// UnmarshalJSON is encoding/json's. One too many is kept, which tells that there are too many.
func (s *changes[T]) UnmarshalJSON(text []byte) error {
	return each(text, maxRefs+1, func(d *json.Decoder) error {
		var v T
		err := d.Decode(&v)
		*s = append(*s, v)
		return err
	})
}

// cloudRef is a branch or tag as it was or is.
type cloudRef struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	Target struct {
		Hash    string `json:"hash"`
		Message string `json:"message"`
	} `json:"target"`
}

func (r *cloudRef) ref() string {
	if r.Type == "tag" {
		return "refs/tags/" + r.Name
	}
	return "refs/heads/" + r.Name
}

type cloudPush struct {
	Push struct {
		Changes changes[struct {
			Old    *cloudRef `json:"old"`
			New    *cloudRef `json:"new"`
			Forced bool      `json:"forced"`
		}] `json:"changes"`
	} `json:"push"`
	Repository struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
}

type serverPush struct {
	Changes changes[struct {
		Ref  string `json:"refId"`
		From string `json:"fromHash"`
		To   string `json:"toHash"`
	}] `json:"changes"`
	Repository struct {
		Slug    string `json:"slug"`
		Project struct {
			Key string `json:"key"`
		} `json:"project"`
	} `json:"repository"`
}

func readBitbucket(e *Event, text []byte) *Refusal {
	switch e.Name {
	case "repo:push":
		e.Kind = Push
		return readCloud(e, text)
	case "repo:refs_changed":
		e.Forge, e.Kind = BitbucketServer, Push
		return readServer(e, text)
	case "diagnostics:ping":
		e.Forge, e.Kind = BitbucketServer, Ping
	default:
		e.Kind = Other
	}
	return nil
}

// tooMany refuses what cannot be taken whole: a part of it would be lost, and nobody would know.
func tooMany(n int) *Refusal {
	if n <= maxRefs {
		return nil
	}
	return &Refusal{http.StatusBadRequest, CodeTooManyRefs, fmt.Sprintf("the push changes more than %d refs: push fewer at once", maxRefs)}
}

// readCloud reads Bitbucket Cloud's push, of one ref or of several. It does not say which paths are touched.
func readCloud(e *Event, text []byte) *Refusal {
	var p cloudPush
	if refusal := decode(text, &p); refusal != nil {
		return refusal
	}
	e.Repository = p.Repository.FullName
	for _, one := range p.Push.Changes {
		c := Change{Forced: one.Forced, Unknown: true}
		if one.Old != nil {
			c.Ref, c.Before = one.Old.ref(), one.Old.Target.Hash
		}
		if one.New != nil {
			c.Ref, c.Commit = one.New.ref(), one.New.Target.Hash
			c.Message = one.New.Target.Message[:min(len(one.New.Target.Message), maxMessage)]
		}
		e.Changes = append(e.Changes, c)
	}
	return tooMany(len(e.Changes))
}

// readServer reads Bitbucket Data Center's, which says nothing of the commits.
func readServer(e *Event, text []byte) *Refusal {
	var p serverPush
	if refusal := decode(text, &p); refusal != nil {
		return refusal
	}
	if p.Repository.Project.Key != "" && p.Repository.Slug != "" {
		e.Repository = p.Repository.Project.Key + "/" + p.Repository.Slug
	}
	for _, one := range p.Changes {
		e.Changes = append(e.Changes, Change{Ref: one.Ref, Before: one.From, Commit: one.To, Unknown: true})
	}
	return tooMany(len(e.Changes))
}
