// Package fetch brings an app's source from elsewhere: a tarball by https, a git repository by https or ssh; and keeps
// sources by their content. It does not unpack them: that is package source's.
//
// URLs come from users and answers from anybody. What is connected to is checked at the moment of the connection, by
// its address (Dialer), for git too: its https goes through a proxy of ours that lives as long as the fetch, and its ssh
// is given an address that was checked. No credential is in an argument, an error or a file.
package fetch
