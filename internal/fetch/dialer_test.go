package fetch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestKindsOfAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1": "loopback", "127.255.255.254": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "loopback",
		"0.0.0.0": "unspecified", "0.1.2.3": "unspecified", "::": "unspecified", "::ffff:0.0.0.0": "unspecified",
		"10.1.2.3": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private", "::ffff:192.168.1.1": "private",
		"100.64.0.1": "carrier", "fd12::1": "private", "fec0::1": "private",
		"169.254.1.1": "link-local", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"169.254.169.254": "metadata", "::ffff:169.254.169.254": "metadata", "fd00:ec2::254": "metadata", "168.63.129.16": "metadata",
		"100.100.100.200": "metadata", "64:ff9b::169.254.169.254": "metadata", "169.254.170.2": "metadata",
		"224.0.0.1": "multicast", "ff02::1": "multicast", "255.255.255.255": "broadcast", "240.0.0.1": "special",
		"192.0.2.1": "documentation", "2001:db8::1": "documentation", "198.18.0.1": "special", "192.0.0.1": "special",
		"2002:7f00:1::": "tunnel", "2001::1": "tunnel", "64:ff9b::127.0.0.1": "loopback", "::127.0.0.1": "special", "64:ff9b:1::7f00:1": "special",
		"100::1": "special", "4000::1": "special", "5f00::1": "special",
		"1.1.1.1": "", "172.15.0.1": "", "172.32.0.1": "", "100.128.0.1": "", "::ffff:8.8.8.8": "", "2606:4700::1111": "", "64:ff9b::8.8.8.8": "",
	} {
		err := new(Dialer).check("h", netip.MustParseAddr(addr))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
	d := allow("127.0.0.2/32", "10.0.0.0/8", "fd12::/16")
	for addr, ok := range map[string]bool{
		"127.0.0.2": true, "::ffff:127.0.0.2": true, "127.0.0.1": false, "10.9.9.9": true, "192.168.0.1": false, "fd12::9": true, "fd13::9": false,
	} {
		if err := d.check("h", netip.MustParseAddr(addr)); (err == nil) != ok {
			t.Errorf("%s with an allow list: %v", addr, err)
		}
	}
}

func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	d := Dialer{Resolver: nameServer(t, "127.0.0.1")}
	for host, want := range map[string]string{
		"127.0.0.1":        `"127.0.0.1" is a loopback address, which is not connected to: the operator can add 127.0.0.1/32 to fetch.allow`,
		"rebind.test":      `"rebind.test" is at 127.0.0.1, a loopback address, which is not`,
		"::ffff:127.0.0.1": "a loopback address",
		"169.254.169.254":  "a cloud's metadata service",
	} {
		conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		if conn != nil {
			conn.Close()
		}
		refused, ok := errors.AsType[*RefusedError](err)
		if !ok || refused.Host != host || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", host, err)
		}
	}
	d.Allow = allow("127.0.0.1/32").Allow
	for _, host := range []string{"127.0.0.1", "rebind.test"} {
		conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		must(t, err)
		conn.Close()
	}
	if _, err := d.DialContext(t.Context(), "udp", l.Addr().String()); err == nil {
		t.Error("the dialer connects by UDP")
	}
}

// TestDialerNotFound holds that who asks for a name that is not found is told that, and not whom we asked.
func TestDialerNotFound(t *testing.T) {
	d := Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("there is no name server")
	}}}
	_, err := d.DialContext(t.Context(), "tcp", "nowhere.test:443")
	if e, ok := errors.AsType[*net.DNSError](err); !ok || e.Server != "" || !strings.HasPrefix(err.Error(), "lookup nowhere.test: ") {
		t.Errorf("%v", err)
	}
}
