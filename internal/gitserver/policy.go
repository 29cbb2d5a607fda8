package gitserver

import (
	"fmt"
	"slices"
)

// A Refusal is why a push is not taken, in words for the one who pushed. Nothing in it is secret.
type Refusal struct {
	// Reason stands in git's own last lines, `! [remote rejected] main -> main (reason)`: a few words.
	Reason string
	// Lines say more and what to do next. They are printed above, each behind " !     ".
	Lines []string
}

func (r *Refusal) Error() string { return r.Reason }

// A Plan is what becomes of the updates of one push.
type Plan struct {
	Deploy *Update  // of the deploy branch: to be built. nil when the push has none
	Says   []string // a sentence for each of the others, to be printed
}

// Classify decides what a push to an app with a deploy branch means. The law:
//
//   - the deploy branch is built, and moves when the build succeeded; it cannot be deleted;
//   - tags are stored, moved and deleted without a build;
//   - another branch is refused, and with it the whole push: a push that ends well and deploys nothing is what people
//     take for a deployment. The refusal says how to deploy it. Its deletion is taken: it may have been the deploy
//     branch before;
//   - no other ref is taken.
//
// The error is a *Refusal.
func Classify(branch string, updates []Update) (Plan, error) {
	var p Plan
	for _, u := range updates {
		name := u.Ref.Short()
		switch {
		case u.Ref == RefName(heads+branch) && u.Deletes():
			return Plan{}, &Refusal{Reason: "the deploy branch stays", Lines: []string{
				fmt.Sprintf("%s is what this app is built from and cannot be deleted.", name),
				"To be rid of it, delete the app or choose another deploy branch.",
			}}
		case u.Ref == RefName(heads+branch):
			p.Deploy = &u
		case u.Ref.IsTag() && u.Deletes():
			p.Says = append(p.Says, fmt.Sprintf("Tag %s is deleted.", name))
		case u.Ref.IsTag():
			p.Says = append(p.Says, fmt.Sprintf("Tag %s is stored; tags are not built.", name))
		case u.Ref.IsBranch() && u.Deletes():
			p.Says = append(p.Says, fmt.Sprintf("Branch %s is deleted.", name))
		case u.Ref.IsBranch():
			return Plan{}, otherBranch(branch, name, updates)
		default:
			return Plan{}, &Refusal{Reason: "only branches and tags", Lines: []string{
				fmt.Sprintf("%s is neither a branch nor a tag; nothing else can be pushed here.", name),
			}}
		}
	}
	return p, nil
}

func otherBranch(branch, name string, updates []Update) error {
	r := &Refusal{Reason: fmt.Sprintf("only %s is deployed", branch), Lines: []string{
		fmt.Sprintf("%s is not the deploy branch of this app: only %s is built.", name, branch),
		fmt.Sprintf("To deploy it: git push <remote> %s:%s", name, branch),
	}}
	if slices.ContainsFunc(updates, func(u Update) bool { return u.Ref == RefName(heads+branch) }) {
		r.Lines = append(r.Lines, fmt.Sprintf("Nothing of this push was taken, %s neither: push that alone.", branch))
	}
	return r
}

// moved is the refusal of an update whose ref does not stand any more where the push found it.
func moved(u Update, now Hash) *Refusal {
	where := "is gone"
	if now != Zero {
		where = "is at " + now.Short()
	}
	was := "was not there"
	if u.Old != Zero {
		was = "was at " + u.Old.Short()
	}
	return &Refusal{Reason: "fetch first", Lines: []string{
		fmt.Sprintf("%s has moved since: it %s when this push began and %s now.", u.Ref.Short(), was, where),
		"Somebody else pushed. Fetch first (git pull --rebase), then push again.",
	}}
}
