// Package appjson reads app.json: what a template asks for before it can run. It is lenient where the wild is: what it
// does not understand is a warning with its place, and an error is only what makes a deploy impossible. It knows which
// Cloud Native Buildpacks follow the classic buildpacks that such files name. It is pure: bytes in, values out; nothing
// is connected to, and nothing in a file makes it do more work than its size allows.
package appjson
