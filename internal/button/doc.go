// Package button is the deploy button: what a deploy link or a page that somebody came from means, as the Template that
// it names; the picture of the button, and the text that puts it into a README. Links come from anybody. What may be in
// the URL of a repository at all, and what is connected to, is package fetch's law; which hosts templates come from is
// the caller's.
package button
