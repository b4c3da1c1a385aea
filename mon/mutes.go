package mon

import (
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// A mute is kept as "until sticky count text" under the check's code: until
// in seconds since 1970, 0 for ever; sticky 0 or 1.
func (u mute) encode() string {
	until, sticky := int64(0), 0
	if !u.until.IsZero() {
		until = u.until.Unix()
	}
	if u.sticky {
		sticky = 1
	}
	return strconv.FormatInt(until, 10) + " " + strconv.Itoa(sticky) + " " + strconv.Itoa(u.count) + " " + u.text
}

func decodeMute(s string) (u mute) {
	f := strings.SplitN(s, " ", 4)
	if len(f) != 4 {
		return u
	}
	if until, err := strconv.ParseInt(f[0], 10, 64); err == nil && until != 0 {
		u.until = time.Unix(until, 0)
	}
	u.sticky, u.text = f[1] == "1", f[3]
	u.count, _ = strconv.Atoi(f[2])
	return u
}

// mutes are the mutes in force.
func (m *Mon) mutes() map[string]mute {
	out := make(map[string]mute)
	for code, v := range m.muted.values {
		if u := decodeMute(v); u.until.IsZero() || m.opts.Now().Before(u.until) {
			out[code] = u
		}
	}
	return out
}

// expireMutes drops those whose time is over, and those that are not sticky
// whose check is gone or has grown.
func (m *Mon) expireMutes(checks []check) {
	if len(m.muted.values) == 0 || m.muted.inFlight || len(m.muted.pending) > 0 {
		return
	}
	live := make(map[string]int, len(checks))
	for _, c := range checks {
		live[c.Code] = c.Count
	}
	inForce := m.mutes()
	for _, code := range m.muted.keys() {
		u, ok := inForce[code]
		n, raised := live[code]
		if !ok || !u.sticky && (!raised || n > u.count) {
			m.muted.remove(code, func(wire.Errno) {})
			m.clog.write(logInfo, "Health alert %s is unmuted", code)
		}
	}
}

func cmdHealthMute(c *call) {
	code := c.args.str("code")
	u := mute{sticky: c.args.truth("sticky")}
	if ttl := c.args.str("ttl"); ttl != "" {
		d, ok := parseSpan(ttl)
		if !ok {
			c.fail(wire.EINVAL, "not a valid duration: %s", ttl)
			return
		}
		u.until = c.m.opts.Now().Add(d)
	}
	_, checks := c.m.osd.health()
	found := false
	for _, ck := range checks {
		if ck.Code == code {
			u.count, u.text, found = ck.Count, ck.Message, true
		}
	}
	if !found && !u.sticky {
		c.fail(wire.ENOENT, "health alert %s is not currently raised", code)
		return
	}
	c.m.muted.put(code, u.encode(), c.told(""))
}

func cmdHealthUnmute(c *call) {
	code := c.args.str("code")
	if code != "" {
		c.m.muted.remove(code, c.told(""))
		return
	}
	keys := c.m.muted.keys()
	if len(keys) == 0 {
		c.ok("")
		return
	}
	for i, k := range keys {
		done := func(wire.Errno) {}
		if i == len(keys)-1 {
			done = c.told("")
		}
		c.m.muted.remove(k, done)
	}
}

// parseSpan reads a length of time: 90, 5m, 2h, 1d, 1w.
func parseSpan(s string) (time.Duration, bool) {
	units := map[string]time.Duration{"": time.Second, "s": time.Second, "sec": time.Second, "m": time.Minute, "min": time.Minute,
		"h": time.Hour, "hr": time.Hour, "d": 24 * time.Hour, "day": 24 * time.Hour, "w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour}
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz ")
	unit, known := units[strings.TrimSpace(s[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 32)
	return time.Duration(n) * unit, known && err == nil && n > 0
}

// stampOf prints a time as Ceph does.
func stampOf(t time.Time) string { return clustermap.Stamp(wire.TimeOf(t)) }
