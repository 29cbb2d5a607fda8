package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// AllowSetting is the name of the setting that becomes Dialer.Allow, as errors name it.
const AllowSetting = "fetch.allow"

// A Dialer connects to public addresses only, and to those of other kinds that it is told to allow. The address is
// looked at when it is connected to: what a name meant when somebody looked before does not count. The zero Dialer
// allows nothing else.
type Dialer struct {
	Allow    []netip.Prefix
	Resolver *net.Resolver // nil: the system's
	Timeout  time.Duration // of one connection; 0: 30 seconds
	Setting  string        // what errors say allows an address; "": AllowSetting
}

// A RefusedError tells of an address that is not connected to.
type RefusedError struct {
	Host string // as it was asked for
	Addr netip.Addr
	Kind string // "a private address"
	// Setting is the Dialer's.
	Setting string
}

func (e *RefusedError) Error() string {
	is := "is " + e.Kind + ", which"
	if e.Host != e.Addr.String() {
		is = fmt.Sprintf("is at %s, %s, which", e.Addr, e.Kind)
	}
	return fmt.Sprintf("%.200q %s is not connected to: the operator can add %s to %s", e.Host, is, netip.PrefixFrom(e.Addr, e.Addr.BitLen()), cmp.Or(e.Setting, AllowSetting))
}

// DialContext connects by TCP. An address that is refused is a *RefusedError, a name that is not found a *net.DNSError.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	timeout := d.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	nd := net.Dialer{Timeout: timeout, Resolver: d.Resolver, ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || network != "tcp4" && network != "tcp6" {
			return fmt.Errorf("connect to %.200q: %s %s is no address of TCP", host, network, address)
		}
		return d.check(host, at.Addr())
	}}
	conn, err := nd.DialContext(ctx, network, addr)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return nil, refused
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		found := *e
		found.Server = "" // the operator's, and strangers are told of the error
		return nil, &found
	}
	return conn, err
}

// check says whether an address may be connected to.
func (d *Dialer) check(host string, a netip.Addr) error {
	a = a.WithZone("").Unmap()
	kind := kindOf(a)
	if kind == "" {
		return nil
	}
	for _, p := range d.Allow {
		if p.Contains(a) {
			return nil
		}
	}
	return &RefusedError{Host: host, Addr: a, Kind: kind, Setting: d.Setting}
}

// kinds of addresses that are not the public Internet's, from IANA's registries of special-purpose addresses; the first
// that contains an address counts.
func kinds() []struct{ prefix, kind string } {
	return []struct{ prefix, kind string }{
		{"169.254.169.254/32", "a cloud's metadata service"},
		{"169.254.170.0/24", "a cloud's metadata service"},
		{"100.100.100.200/32", "a cloud's metadata service"},
		{"168.63.129.16/32", "a cloud's metadata service"},
		{"fd00:ec2::/32", "a cloud's metadata service"},
		{"fd20:ce::254/128", "a cloud's metadata service"},
		{"127.0.0.0/8", "a loopback address"},
		{"::1/128", "a loopback address"},
		{"0.0.0.0/8", "an unspecified address"},
		{"::/128", "an unspecified address"},
		{"10.0.0.0/8", "a private address"},
		{"172.16.0.0/12", "a private address"},
		{"192.168.0.0/16", "a private address"},
		{"100.64.0.0/10", "a carrier's private address"},
		{"fc00::/7", "a private address"},
		{"fec0::/10", "a private address"},
		{"169.254.0.0/16", "a link-local address"},
		{"fe80::/10", "a link-local address"},
		{"224.0.0.0/4", "a multicast address"},
		{"ff00::/8", "a multicast address"},
		{"255.255.255.255/32", "a broadcast address"},
		{"192.0.0.0/24", "an address for special use"},
		{"192.0.2.0/24", "an address for documentation"},
		{"198.51.100.0/24", "an address for documentation"},
		{"203.0.113.0/24", "an address for documentation"},
		{"2001:db8::/32", "an address for documentation"},
		{"3fff::/20", "an address for documentation"},
		{"192.88.99.0/24", "an address of a tunnel"},
		{"2001::/32", "an address of a tunnel"}, // Teredo: an IPv4 address is in it, as in 6to4
		{"2002::/16", "an address of a tunnel"},
		{"198.18.0.0/15", "an address for special use"},
		{"240.0.0.0/4", "an address for special use"},
		{"2001::/23", "an address for special use"},
	}
}

// nat64 is where a network translates IPv6 into the IPv4 address in the last four bytes.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// kindOf is what an address is if it is not a public one, else "".
func kindOf(a netip.Addr) string {
	if !a.IsValid() {
		return "no address"
	}
	if nat64.Contains(a) {
		b := a.As16()
		return kindOf(netip.AddrFrom4([4]byte(b[12:])))
	}
	for _, k := range kinds() {
		if netip.MustParsePrefix(k.prefix).Contains(a) {
			return k.kind
		}
	}
	if a.Is6() && a.As16()[0]>>5 != 1 { // 2000::/3 is all that is given out
		return "an address for special use"
	}
	return ""
}
