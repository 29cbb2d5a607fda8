//go:build race

package gitserver

const raced = true
