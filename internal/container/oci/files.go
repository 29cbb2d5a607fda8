package oci

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxAccounts bounds the account files of an image.
const maxAccounts = 1 << 20

// user is who the container runs as. A name of the image's is looked up in the image.
func (p *Prepared) user(c v1.Config) (specs.User, error) {
	u := specs.User{UID: uint32(p.spec.UID), GID: uint32(p.spec.GID)}
	for _, g := range p.spec.Groups {
		u.AdditionalGids = append(u.AdditionalGids, uint32(g))
	}
	if !p.spec.ImageUser || c.User == "" {
		return u, nil
	}
	name, group, hasGroup := strings.Cut(c.User, ":")
	uid, gid, err := p.account(name)
	if err != nil {
		return u, err
	}
	if hasGroup {
		if gid, err = p.group(group); err != nil {
			return u, err
		}
	}
	u.UID, u.GID = uid, gid
	return u, nil
}

func (p *Prepared) account(name string) (uid, gid uint32, err error) {
	number, nerr := strconv.ParseUint(name, 10, 32)
	err = p.lines("etc/passwd", func(f []string) bool {
		if len(f) < 4 || f[0] != name && (nerr != nil || f[2] != name) {
			return false
		}
		u, err1 := strconv.ParseUint(f[2], 10, 32)
		g, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			return false
		}
		uid, gid, nerr = uint32(u), uint32(g), nil
		number = u
		return true
	})
	if err != nil {
		return 0, 0, err
	}
	if nerr != nil {
		return 0, 0, fmt.Errorf("start a container of %s: its user %q is not in its /etc/passwd", p.spec.Image, name)
	}
	return uint32(number), gid, nil
}

func (p *Prepared) group(name string) (gid uint32, err error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	found := false
	err = p.lines("etc/group", func(f []string) bool {
		if len(f) < 3 || f[0] != name {
			return false
		}
		n, err := strconv.ParseUint(f[2], 10, 32)
		gid, found = uint32(n), err == nil
		return found
	})
	if err == nil && !found {
		err = fmt.Errorf("start a container of %s: its group %q is not in its /etc/group", p.spec.Image, name)
	}
	return gid, err
}

// lines reads a file of the image, field by field of each line, until use is content. No link leads out of the image.
func (p *Prepared) lines(name string, use func(fields []string) bool) error {
	root, err := unix.Open(p.root(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read /%s of image %s: %w", name, p.spec.Image, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("/%s of image %s is not a regular file", name, p.spec.Image))
	}
	sc := bufio.NewScanner(io.LimitReader(f, maxAccounts))
	for sc.Scan() {
		if use(strings.Split(sc.Text(), ":")) {
			return nil
		}
	}
	return sc.Err()
}

// writeFiles makes the files that tell the container of its name and network.
func (p *Prepared) writeFiles() error {
	name := hostname(p.spec)
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	if p.net != nil {
		hosts += p.net.inside.String() + "\t" + name + "\n"
	} else {
		hosts += "127.0.1.1\t" + name + "\n"
	}
	if p.spec.Network.Mode == "host" {
		if b, err := os.ReadFile("/etc/hosts"); err == nil {
			hosts = string(b)
		}
	}
	for _, extra := range p.spec.Network.ExtraHosts {
		host, ip, ok := strings.Cut(extra, ":")
		if ip == "host-gateway" && p.net != nil {
			ip = p.net.outside.String()
		}
		addr, err := netip.ParseAddr(ip)
		if !ok || err != nil || host == "" || strings.ContainsAny(host, " \t\n#") {
			return fmt.Errorf("container: extra host %q is not name:ip", extra)
		}
		hosts += addr.String() + "\t" + host + "\n"
	}
	for file, text := range map[string]string{"hosts": hosts, "hostname": name + "\n", "resolv.conf": resolvConf(p.spec.Network.Mode)} {
		path := p.shown(file)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil { // whatever the umask
			return err
		}
		if p.users != nil {
			if err := os.Chown(path, p.users.first, p.users.first); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Prepared) fileMounts() []specs.Mount {
	var out []specs.Mount
	for _, f := range []string{"hosts", "hostname", "resolv.conf"} {
		out = append(out, bind(p.shown(f), "/etc/"+f, p.spec.ReadOnlyRoot))
	}
	return out
}

// resolvConf is the host's, without name servers on its loopback, which a network of its own cannot reach; where that
// leaves none, what systemd-resolved asks itself.
func resolvConf(mode string) string {
	if mode == "none" {
		return ""
	}
	b, _ := os.ReadFile("/etc/resolv.conf")
	if mode == "host" || len(nameservers(string(b))) > 0 {
		return keepReachable(string(b), mode)
	}
	b, _ = os.ReadFile("/run/systemd/resolve/resolv.conf")
	return keepReachable(string(b), mode)
}

func keepReachable(text, mode string) string {
	if mode == "host" {
		return text
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == "nameserver" && !slices.Contains(nameservers(line), f[1]) {
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}

// nameservers are the name servers of a resolv.conf that can be reached from a network of its own.
func nameservers(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && a.Is4() && !a.IsLoopback() {
			out = append(out, f[1])
		}
	}
	return out
}
