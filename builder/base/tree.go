package base

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// maxSmallFile caps what is held in memory of the files that are read or changed on the way.
const maxSmallFile = 1 << 20

// layerTime is the time of every file in the image, the one that CNB tools use: no time survives that would
// differ between two bootstraps.
func layerTime() time.Time { return time.Date(1980, time.January, 1, 0, 0, 1, 0, time.UTC) }

// tree normalises a root filesystem on its way from the bootstrap's tar to the layer's, and notes what the
// image's labels say about it.
type tree struct {
	opts     Options
	accounts map[string]string // what is still to be added, by path

	apt        bool      // the tree has apt, so it is told where packages come from
	newest     time.Time // newest change in a package's changelog
	name, vers string    // ID and VERSION_ID of os-release
	entries    int
}

func newTree(o Options) *tree { return &tree{opts: o, accounts: o.accountFiles()} }

// copy writes the layer's tar for the bootstrap's. The order of entries is the bootstrap's, which is sorted.
func (t *tree) copy(w io.Writer, r io.Reader) error {
	tr, tw := tar.NewReader(r), tar.NewWriter(w)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read tree: %w", err)
		}
		if err := t.entry(tw, tr, h); err != nil {
			return fmt.Errorf("file /%s: %w", strings.TrimPrefix(h.Name, "./"), err)
		}
	}
	if err := t.finish(tw); err != nil {
		return err
	}
	// What follows the end mark is padding; reading it lets the writer end in peace.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("read tree: %w", err)
	}
	return tw.Close()
}

// entry passes one entry on, changes it, or leaves it out.
func (t *tree) entry(tw *tar.Writer, r io.Reader, h *tar.Header) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" {
		return nil
	}
	if isChangelog(name) && h.Typeflag == tar.TypeReg {
		t.changelog(name, r)
	}
	if dropped(name, h.Typeflag) {
		return nil
	}
	out := &tar.Header{
		Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Size: h.Size,
		Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid, ModTime: layerTime(),
	}
	switch h.Typeflag {
	case tar.TypeReg:
		out.Mode &^= 0o6000 // no_new_privs makes set-id programs useless here, and they are of use to attackers only
		return t.file(tw, r, out)
	case tar.TypeDir:
		out.Name += "/"
	case tar.TypeLink:
		out.Mode &^= 0o6000
		out.Linkname = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
		if dropped(out.Linkname, tar.TypeReg) {
			return fmt.Errorf("hard link to /%s, which is left out of the image", out.Linkname)
		}
	case tar.TypeSymlink:
	default:
		return fmt.Errorf("is neither file, directory nor link (tar type %q)", h.Typeflag)
	}
	t.entries++
	return tw.WriteHeader(out)
}

// file passes a regular file on. Some are read on the way, some changed.
func (t *tree) file(tw *tar.Writer, r io.Reader, h *tar.Header) error {
	t.entries++
	line, account := t.accounts[h.Name]
	if !account && h.Name != "usr/lib/os-release" && h.Name != "usr/bin/apt-get" {
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(tw, r)
		return err
	}
	body, err := io.ReadAll(io.LimitReader(r, maxSmallFile+1))
	if err != nil {
		return err
	}
	if len(body) > maxSmallFile {
		return fmt.Errorf("is larger than %d bytes", maxSmallFile)
	}
	switch {
	case account:
		if body, err = addAccount(h.Name, body, line); err != nil {
			return err
		}
		delete(t.accounts, h.Name)
	case h.Name == "usr/bin/apt-get":
		t.apt = true
	default:
		t.name, t.vers = osRelease(body)
	}
	return writeFile(tw, h, body)
}

// finish adds what the bootstrap did not make: the user's home, and apt's sources as the image's user should
// find them (the public form: whatever credential or proxy made the image is not in it).
func (t *tree) finish(tw *tar.Writer) error {
	for _, name := range []string{"etc/passwd", "etc/group"} {
		if _, missing := t.accounts[name]; missing {
			return fmt.Errorf("the bootstrapped tree has no /%s (%d entries in all)", name, t.entries)
		}
	}
	if t.name == "" {
		return errors.New("the bootstrapped tree has no ID in /usr/lib/os-release")
	}
	uid, gid := t.opts.user()
	home := &tar.Header{Typeflag: tar.TypeDir, Name: "home/cnb/", Mode: 0o755, Uid: uid, Gid: gid, ModTime: layerTime()}
	if err := tw.WriteHeader(home); err != nil {
		return err
	}
	if !t.apt {
		return nil
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "etc/apt/sources.list", Mode: 0o644, ModTime: layerTime()}
	return writeFile(tw, h, []byte(strings.Join(t.opts.sources(), "\n")+"\n"))
}

func writeFile(tw *tar.Writer, h *tar.Header, body []byte) error {
	h.Size = int64(len(body))
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := tw.Write(body)
	return err
}

// osRelease finds the two values that the distro labels carry (platform, "Target Data").
func osRelease(text []byte) (id, version string) {
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			id = value
		case "VERSION_ID":
			version = value
		}
	}
	return id, version
}
