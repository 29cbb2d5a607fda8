// Package logs keeps what builds print: append-only, with secrets masked before anything is kept, for one writer and
// any number of followers.
package logs
