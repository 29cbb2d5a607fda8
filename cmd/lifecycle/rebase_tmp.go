package main

import (
	"context"
	"errors"
)

func (c *command) rebaseArgs(context.Context, []string) error {
	return &failure{action: "rebase", code: 72, err: errors.New("the rebaser comes with the next commit")}
}
func (c *command) rebase(context.Context) error { return nil }
