package rados

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// Ports of mons, and the time that a name has to be looked up.
const (
	portMsgr2   = 3300
	portLegacy  = 6789
	lookupLimit = 10 * time.Second
)

// resolveMons reads mon_host: a list of addresses, host names, and brackets
// with the addresses of one mon, each "v2:", "v1:" or nothing, host, ":" and
// port or not, "/" and nonce or not. Addresses of the old messenger are left
// out; one without a prefix or with the old one's port stands for port 3300.
func resolveMons(s string) (addrs []wire.Addr, err error) {
	for _, part := range splitMons(s) {
		host, port, ok, err := monTarget(part)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		ips, err := lookup(host)
		if err != nil {
			return nil, err
		}
		for _, ip := range ips {
			if len(addrs) < maxMons {
				addrs = append(addrs, wire.Addr{Type: wire.AddrMsgr2, IP: netip.AddrPortFrom(ip, port)})
			}
		}
	}
	if len(addrs) == 0 {
		return nil, wire.Errorf("no address of messenger 2", s, wire.EINVAL)
	}
	return addrs, nil
}

// splitMons splits at commas, semicolons and space, and takes the brackets
// around one mon's addresses off; those around an IPv6 address stay.
func splitMons(s string) []string {
	parts := listOf(s)
	for i, p := range parts {
		if rest, ok := strings.CutPrefix(p, "["); ok && hasProto(rest) {
			p = rest
		}
		if strings.Count(p, "]") > strings.Count(p, "[") {
			p = strings.TrimSuffix(p, "]")
		}
		parts[i] = p
	}
	return parts
}

func hasProto(s string) bool {
	return strings.HasPrefix(s, "v2:") || strings.HasPrefix(s, "v1:") || strings.HasPrefix(s, "any:")
}

// monTarget reads one address; not ok: it is one of the old messenger.
func monTarget(s string) (host string, port uint16, ok bool, err error) {
	whole := s
	if strings.HasPrefix(s, "v1:") {
		return "", 0, false, nil
	}
	s, v2 := strings.CutPrefix(s, "v2:")
	s = strings.TrimPrefix(s, "any:")
	s, _, _ = strings.Cut(s, "/")
	host, text := s, ""
	switch {
	case strings.HasPrefix(s, "["):
		var after string
		if host, after, ok = strings.Cut(s[1:], "]"); !ok {
			return "", 0, false, wire.Errorf("address of a mon", whole, wire.EINVAL)
		}
		text = strings.TrimPrefix(after, ":")
	case strings.Count(s, ":") == 1:
		host, text, _ = strings.Cut(s, ":")
	}
	port = portMsgr2
	if text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return "", 0, false, wire.Errorf("address of a mon", whole, wire.EINVAL)
		}
		if port = uint16(n); port == portLegacy && !v2 {
			port = portMsgr2
		}
	}
	if host == "" {
		return "", 0, false, wire.Errorf("address of a mon", whole, wire.EINVAL)
	}
	return host, port, true, nil
}

func lookup(host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, &wire.Error{Op: "host of a mon", Subject: host, Kind: wire.ENOENT, Cause: err}
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips, nil
}

// localIP is the address of this host on the way to another.
func localIP(to netip.AddrPort) netip.Addr {
	c, err := net.Dial("udp", to.String()) // sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	ap, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
