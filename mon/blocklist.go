package mon

import (
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// defaultBlock is how long an address is blocklisted, in seconds; maxBlock
// bounds it.
const (
	defaultBlock = 3600
	maxBlock     = 10 * 365 * 86400
)

// addBlocklist adds the commands about who is shut out, by both their names.
func addBlocklist(t commands) {
	for _, word := range []string{"blocklist", "blacklist"} {
		t.add("osd "+word+" name=range,type=CephString,goodchars=[range],req=false name="+word+"op,type=CephChoices,strings=add|rm name=addr,type=CephEntityAddr "+
			"name=expire,type=CephFloat,range=0.0,req=false", "shut an address out, or let it in again", "rw", func(c *call) { cmdBlocklist(c, word+"op") })
		t.add("osd "+word+" ls", "show who is shut out", "r", cmdBlocklistLs)
		t.add("osd "+word+" clear", "let everybody in again", "rw", cmdBlocklistClear)
	}
}

// parseAddr reads "[v2:]ip:port/nonce", or "ip" for a whole host.
func parseAddr(s string) (wire.Addr, bool) {
	for _, p := range []string{"any:", "v1:", "v2:"} {
		s = strings.TrimPrefix(s, p)
	}
	host, nonce, _ := strings.Cut(s, "/")
	a := wire.Addr{Type: wire.AddrAny}
	if nonce != "" {
		n, err := strconv.ParseUint(nonce, 10, 32)
		if err != nil {
			return a, false
		}
		a.Nonce = uint32(n)
	}
	if ap, err := netip.ParseAddrPort(host); err == nil {
		a.IP = ap
		return a, true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	a.IP = netip.AddrPortFrom(ip, 0)
	return a, err == nil
}

func cmdBlocklist(c *call, op string) {
	if c.args.str("range") != "" {
		c.fail(wire.EOPNOTSUPP, "ranges of addresses can't be blocklisted")
		return
	}
	a, ok := parseAddr(c.args.str("addr"))
	if !ok {
		c.fail(wire.EINVAL, "not an address: %s", c.args.str("addr"))
		return
	}
	view := c.m.osd.view()
	if _, listed := view.Blocklist[a]; !listed {
		// The entry may have been made with the messenger's type.
		v2 := a
		v2.Type = wire.AddrMsgr2
		if _, listed = view.Blocklist[v2]; listed {
			a = v2
		}
	}
	_, listed := view.Blocklist[a]
	switch c.args.str(op) {
	case "add":
		secs, _ := c.args.float("expire", defaultBlock)
		if secs <= 0 || secs > maxBlock || len(view.Blocklist) >= maxBlocklist {
			c.fail(wire.EINVAL, "not a time, or the list is full")
			return
		}
		until := c.m.opts.Now().Add(time.Duration(secs * float64(time.Second)))
		inc := c.m.osd.change(true, c.committed("blocklisting %s until %s (%g sec)", plainAddr(a), stampOf(until), secs))
		inc.NewBlocklist[a] = wire.TimeOf(until)
	case "rm":
		if !listed {
			c.ok("%s isn't blocklisted", plainAddr(a))
			return
		}
		c.m.osd.unblock(a)
		c.m.osd.change(true, c.committed("un-blocklisting %s", plainAddr(a)))
	default:
		c.fail(wire.EINVAL, "add or rm")
	}
}

// unblock takes an address off the list.
func (s *osdService) unblock(a wire.Addr) {
	inc := s.change(true, nil)
	delete(inc.NewBlocklist, a)
	if _, old := s.base().Blocklist[a]; old {
		inc.OldBlocklist = append(inc.OldBlocklist, a)
	}
}

func cmdBlocklistClear(c *call) {
	addrs := blocked(c.m.osd.view())
	for _, a := range addrs {
		c.m.osd.unblock(a)
	}
	c.finishChange(len(addrs) > 0, " removed all blocklist entries")
}

func blocked(m *clustermap.OSDMap) []wire.Addr {
	out := make([]wire.Addr, 0, len(m.Blocklist))
	for a := range m.Blocklist {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out
}

func cmdBlocklistLs(c *call) {
	m := c.m.osd.cur
	list, text := []any{}, ""
	for _, a := range blocked(m) {
		until := clustermap.Stamp(m.Blocklist[a])
		list = append(list, obj{{"addr", plainAddr(a)}, {"until", until}})
		text += plainAddr(a) + " " + until + "\n"
	}
	out := []byte(text)
	if c.isJSON() {
		out = encodeJSON(list, c.args.str("format") != "json")
	}
	c.finish(0, fmt.Sprintf("listed %d entries", len(list)), out)
}
