package oci

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/rootfs"
)

// Containers have an address of 198.18.0.0/15, which no network uses (RFC 2544), in a net of two hosts each: the
// container and this machine. The interface on this machine is named after the net's number, so that the kernel
// itself gives each to one container only.
const (
	netCount  = 1 << 15
	linkStart = "slw"
)

func poolNets() netip.Prefix { return netip.MustParsePrefix("198.18.0.0/15") }

func netAddr(n int, host byte) netip.Addr {
	base := poolNets().Addr().As4()
	at := binary.BigEndian.Uint32(base[:]) + uint32(n)<<2 + uint32(host)
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], at)
	return netip.AddrFrom4(b)
}

// network is a container's own one. Between make and wire it has the loopback interface only.
type network struct {
	ns              netns.NsHandle
	link            string // our interface, once it is wired
	n               int
	outside, inside netip.Addr
	wired           atomic.Bool
}

// makeNetwork makes the namespace, and wires it unless that is for later.
func (p *Prepared) makeNetwork(ctx context.Context) error {
	if p.spec.Network.Mode == "host" {
		return nil
	}
	var err error
	if p.users != nil {
		p.netns, err = p.users.net, raiseLoopback(p.users.net)
	} else {
		p.netns, err = makeNamespace()
	}
	if err != nil {
		return fmt.Errorf("make a network: %w", err)
	}
	if p.spec.Network.Mode == "none" {
		return nil
	}
	n := &network{ns: netns.NsHandle(p.netns.Fd())}
	if err := n.reserve(p.path("link"), p.id); err != nil {
		return fmt.Errorf("make a network: %w", err)
	}
	p.net = n
	if p.spec.Network.Later {
		go func() { _ = hostRules() }() // Wire waits for it, and tells what went wrong
		return nil
	}
	return p.Wire(ctx)
}

// Wire is container.Wirer's.
func (p *Prepared) Wire(context.Context) error {
	if p.net == nil {
		return nil
	}
	if err := p.net.wire(); err != nil {
		return fmt.Errorf("connect container %s to the network: %w", p.id, err)
	}
	if p.spec.Network.Public {
		if err := p.r.egress.guard(p.net.ns); err != nil {
			return fmt.Errorf("guard the network of container %s: %w", p.id, err)
		}
	}
	if err := p.net.up(); err != nil {
		return fmt.Errorf("connect container %s to the network: %w", p.id, err)
	}
	return nil
}

// makeNamespace makes a network namespace, which lives as long as the file is open or a process is in it: a Slipway
// that is killed leaves none.
func makeNamespace() (f *os.File, err error) {
	err = rootfs.Apart(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := loopbackUp(); err != nil {
			return err
		}
		f, err = os.Open("/proc/thread-self/ns/net") // only the file holds it then
		return err
	})
	return f, err
}

// raiseLoopback raises lo in a namespace that another process has made.
func raiseLoopback(ns *os.File) error {
	return rootfs.Apart(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return loopbackUp()
	})
}

// fdPath is where the binary finds a namespace that we hold. A path below our own directory will not do: runc takes
// none with a comma.
func fdPath(f *os.File) string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
}

// loopbackUp raises lo in the thread's namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// reserve makes the pair of interfaces, which takes a net that nobody has; its name is written down for who cleans up,
// and it says whose it is (ip link show: alias).
func (n *network) reserve(record, owner string) error {
	start := rand.IntN(netCount)
	for i := range 64 {
		n.n = (start + i) % netCount
		name := fmt.Sprintf("%s%d", linkStart, n.n)
		if err := os.WriteFile(record, []byte(name), 0o600); err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		link := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(n.ns)}
		err := netlink.LinkAdd(link)
		switch {
		case err == nil:
			n.link, n.outside, n.inside = name, netAddr(n.n, 1), netAddr(n.n, 2)
			return netlink.LinkSetAlias(link, owner)
		case !errors.Is(err, unix.EEXIST):
			return err
		}
	}
	return errors.New("no free net was found")
}

func cidr(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(30, 32)}}
}

// wire gives our side its address and has the host pass packets on.
func (n *network) wire() error {
	if err := hostRules(); err != nil {
		return err
	}
	link, err := netlink.LinkByName(n.link)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, cidr(n.outside)); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// up raises the container's side.
func (n *network) up() error {
	h, err := netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, cidr(n.inside)); err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return err
	}
	if err := h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: n.outside.AsSlice()}); err != nil {
		return err
	}
	n.wired.Store(true)
	return nil
}

// close takes the interfaces away.
func (n *network) close() error {
	if n == nil || n.link == "" {
		return nil
	}
	return deleteLink(n.link)
}

func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove network interface %s: %w", name, err)
	}
	return nil
}

// removeLink removes the interface that a dead Slipway's container in dir had.
func removeLink(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "link"))
	if err != nil || !strings.HasPrefix(string(b), linkStart) {
		return nil
	}
	return deleteLink(string(b))
}

var forwarding struct {
	sync.Mutex
	done bool
}

// hostRules has this machine forward what comes from containers, once per process.
func hostRules() error {
	forwarding.Lock()
	defer forwarding.Unlock()
	if forwarding.done {
		return nil
	}
	err := forwardPackets()
	forwarding.done = err == nil
	return err
}

func forwardPackets() error {
	const forward = "/proc/sys/net/ipv4/ip_forward"
	if b, err := os.ReadFile(forward); err == nil && strings.TrimSpace(string(b)) != "1" {
		if err := os.WriteFile(forward, []byte("1"), 0o644); err != nil {
			return fmt.Errorf("switch on forwarding: %w", err)
		}
	}
	if err := translate(); err != nil {
		return fmt.Errorf("translate addresses: %w", err)
	}
	return openFirewall()
}

// openFirewall lets containers' packets through a host firewall made with iptables that drops what it forwards, as
// Docker's does. Without iptables there is none.
func openFirewall() error {
	path, err := exec.LookPath("iptables")
	if err != nil {
		if path = "/usr/sbin/iptables"; !exists(path) {
			return nil
		}
	}
	have, err := exec.Command(path, "-w", "5", "-S", "FORWARD").Output()
	if err != nil {
		return nil // no such table: nothing drops
	}
	for _, rule := range [][]string{
		{"-o", linkStart + "+", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"},
		{"-i", linkStart + "+", "!", "-o", linkStart + "+", "-j", "ACCEPT"},
	} {
		if strings.Contains(string(have), linkRule(rule)) {
			continue
		}
		if out, err := exec.Command(path, append([]string{"-w", "5", "-I", "FORWARD"}, rule...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("let containers through the firewall: %w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// linkRule is a rule as iptables lists it.
func linkRule(rule []string) string {
	return "-A FORWARD " + strings.Join(rule, " ") + "\n"
}

// NetworkReady says whether the kernel has what a container's own network needs, without changing anything.
func NetworkReady() error {
	c, err := nftables.New()
	if err == nil {
		_, err = c.ListTables()
	}
	if err != nil {
		return fmt.Errorf("the kernel's nf_tables cannot be used: %w", err)
	}
	return nil
}
