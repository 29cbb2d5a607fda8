package containertest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Neighbours are two servers in a private network beside this machine, in a namespace of their own: a container that is
// not kept from private addresses reaches both. They go with the test, which has to be root's.
func Neighbours(t testing.TB) (one, other netip.AddrPort) {
	t.Helper()
	b := make([]byte, 2)
	_, _ = rand.Read(b) // for tests of several packages at once
	place := &neighbourhood{
		link: fmt.Sprintf("slipnext%x", b), gate: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, b[0], b[1], 1}), 24),
		one: netip.AddrFrom4([4]byte{10, b[0], b[1], 2}), other: netip.AddrFrom4([4]byte{10, b[0], b[1], 3}),
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		done <- place.settle()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(place.leave)
	if err := place.join(); err != nil {
		t.Fatal(err)
	}
	for _, l := range place.doors {
		go answer(l)
	}
	return place.doors[0].Addr().(*net.TCPAddr).AddrPort(), place.doors[1].Addr().(*net.TCPAddr).AddrPort()
}

type neighbourhood struct {
	link       string       // on this machine
	gate       netip.Prefix // its address, and the network
	one, other netip.Addr
	doors      []net.Listener
}

// settle makes the network and its servers. It leaves the calling thread in their namespace.
func (n *neighbourhood) settle() error {
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	if _, err := netns.New(); err != nil {
		return err
	}
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: n.link, PeerNamespace: netlink.NsFd(home)}
	if err := netlink.LinkAdd(link); err != nil {
		return err
	}
	for _, a := range []netip.Addr{n.one, n.other} {
		if err := address(link, netip.PrefixFrom(a, n.gate.Bits())); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	for _, a := range []netip.Addr{n.one, n.other} {
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
		if err != nil {
			return err
		}
		n.doors = append(n.doors, l)
	}
	return nil
}

// join gives this machine its address there.
func (n *neighbourhood) join() error {
	link, err := netlink.LinkByName(n.link)
	if err != nil {
		return err
	}
	return errors.Join(address(link, n.gate), netlink.LinkSetUp(link))
}

func (n *neighbourhood) leave() {
	for _, l := range n.doors {
		l.Close()
	}
	if link, err := netlink.LinkByName(n.link); err == nil {
		_ = netlink.LinkDel(link)
	}
}

func address(link netlink.Link, p netip.Prefix) error {
	return netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}})
}

// answer takes connections until the listener is closed.
func answer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}
