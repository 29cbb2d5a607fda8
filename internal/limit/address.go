package limit

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the addresses whose X-Forwarded-For is believed.
type Proxies []netip.Prefix

func (p Proxies) has(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(one netip.Prefix) bool { return one.Contains(a) })
}

// Client is the address that a request comes from, as far as that is known: the last one in the chain of proxies that is
// none of ours. Whatever stands before it may be made up.
func (p Proxies) Client(r *http.Request) netip.Addr {
	a := parseAddr(r.RemoteAddr)
	if !p.has(a) {
		return a
	}
	var chain []string
	for _, line := range r.Header.Values("X-Forwarded-For") {
		chain = append(chain, strings.Split(line, ",")...)
	}
	for _, text := range slices.Backward(chain) {
		next := parseAddr(strings.TrimSpace(text))
		if !next.IsValid() {
			break
		}
		if a = next; !p.has(a) {
			break
		}
	}
	return a
}

// parseAddr reads an address with or without a port.
func parseAddr(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	a, _ := netip.ParseAddr(strings.Trim(s, "[]"))
	return a.Unmap().WithZone("")
}

// keyOf is what is counted together: an address, of IPv6 the network that one customer has.
func keyOf(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
