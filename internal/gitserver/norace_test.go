//go:build !race

package gitserver

const raced = false
