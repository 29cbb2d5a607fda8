package oci

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// private are the networks that foreign code has no business in: this machine's neighbours, cloud metadata, other
// containers, and what is no address of a host at all (IANA special-purpose registry).
func private() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16",
		"198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// egress is what a guarded container may reach of what is private.
type egress struct{ allow []netip.Prefix }

func newEgress(allow []string) (egress, error) {
	var e egress
	for _, s := range allow {
		p, err := ParseNetwork(s)
		if err != nil {
			return e, err
		}
		e.allow = append(e.allow, p)
	}
	return e, nil
}

// ParseNetwork reads an address, or a network as address/bits.
func ParseNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("network %q is neither an address nor address/bits", s)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// guard puts rules into a namespace, in whose container nobody may change them: public addresses, name servers, what
// is allowed, and answers. The rest is refused at once, so that nothing waits for it.
func (e egress) guard(ns netns.NsHandle) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "slipway"})
	policy := nftables.ChainPolicyAccept
	chain := c.AddChain(&nftables.Chain{
		Name: "egress", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	add := func(exprs ...expr.Any) { c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs}) }
	accept, refuse := &expr.Verdict{Kind: expr.VerdictAccept}, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}
	add(
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		accept,
	)
	add(append(outOf("lo"), accept)...)
	conf, _ := os.ReadFile("/etc/resolv.conf")
	resolved, _ := os.ReadFile("/run/systemd/resolve/resolv.conf")
	for _, s := range nameservers(string(conf) + "\n" + string(resolved)) {
		for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			rule := to(netip.PrefixFrom(netip.MustParseAddr(s), 32))
			rule = append(rule,
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 53}},
				accept)
			add(rule...)
		}
	}
	for _, p := range e.allow {
		if p.Addr().Is4() { // there is no other address in there
			add(append(to(p), accept)...)
		}
	}
	for _, p := range private() {
		add(append(to(p), refuse)...)
	}
	add(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV6}}, refuse)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set rules: %w", err)
	}
	return nil
}

func outOf(link string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
}

// to matches packets to an IPv4 network.
func to(p netip.Prefix) []expr.Any {
	return append([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
	}, address(16, p)...)
}

// address compares an address of the IPv4 header: 12 is where the source is, 16 the destination.
func address(offset uint32, p netip.Prefix) []expr.Any {
	mask := ^uint32(0) << (32 - p.Bits())
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.BigEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}
}

// translate has what leaves this machine from a container bear this machine's address, and keeps containers off this
// machine's own services. Table and rules are replaced in one step, so that any number of processes may do so.
func translate() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "slipway"})
	c.FlushTable(t)
	nat := c.AddChain(&nftables.Chain{Name: "leave", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	c.AddRule(&nftables.Rule{Table: t, Chain: nat, Exprs: append(
		append(address(12, poolNets()), &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte(linkStart)}),
		&expr.Masq{})})
	in := c.AddChain(&nftables.Chain{Name: "arrive", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	c.AddRule(&nftables.Rule{Table: t, Chain: in, Exprs: append(address(12, poolNets()),
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitNEW), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(linkStart)},
		&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 13})})
	return c.Flush()
}
