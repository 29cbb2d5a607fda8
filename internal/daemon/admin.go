package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-build/slipway/internal/build"
)

// AdminToken makes a token for everything, of an administrator of a data directory, whether a service is using it or
// not: the way back where the last one is lost, be it that a first start died before it had shown it. Whoever may read
// the directory may do anything with it already. name is whose it is; "" is admin, else the administrator of longest
// standing, and in a record without users it makes admin.
func AdminToken(ctx context.Context, data, name string) (who build.User, text string, err error) {
	s, err := openCopy(ctx, data)
	if err != nil {
		return who, "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	users, err := s.Users(ctx)
	if err != nil {
		return who, "", err
	}
	if len(users) == 0 && (name == "" || name == firstUser) {
		if who, err = s.CreateUser(ctx, firstUser, true); err != nil {
			return who, "", err
		}
		users = append(users, who)
	}
	if who, err = administrator(users, name); err != nil {
		return who, "", err
	}
	_, text, err = s.CreateToken(ctx, build.Token{User: who.ID, Description: "made on the service's machine", Verbs: build.Verbs()})
	return who, text, err
}

// firstUser is who a first start makes.
const firstUser = "admin"

// administrator finds one by name, or any.
func administrator(users []build.User, name string) (build.User, error) {
	slices.SortFunc(users, func(a, b build.User) int { return a.CreatedAt.Compare(b.CreatedAt) })
	var found build.User
	for _, u := range users {
		switch {
		case name != "" && u.Name == name && !u.Admin:
			return u, fmt.Errorf("user %s is no administrator", name)
		case name != "" && u.Name == name, name == "" && u.Name == firstUser && u.Admin:
			return u, nil
		case name == "" && u.Admin && found.ID == "":
			found = u
		}
	}
	if found.ID == "" {
		return found, fmt.Errorf("there is no user %q: leave out --user to have the token of the first administrator", name)
	}
	return found, nil
}
