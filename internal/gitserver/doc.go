// Package gitserver takes git pushes: bare repositories, the stock git receive-pack behind smart HTTP, and a pre-receive
// hook by which the service decides, while the pushed objects are still in quarantine, whether a push is let through.
// It knows nothing of builds: the service is a Receiver.
//
// A push, in order. The client's commands are read and looked at before git sees them (names, number). git takes the
// pack into a quarantine within its limits and checks it. The hook, which is our own executable, connects to the
// process that runs git; the receiver is asked, and what it writes is printed by the client line by line. nil moves the
// refs; an error leaves the repository as it was, and git removes the quarantine.
//
// A client that goes away ends nothing: its git runs on, and the receiver decides (Push.Gone). A process that dies takes
// its gits with it; what must survive that is kept first (Push.Keep) and moved later (Repos.MoveRef).
package gitserver
