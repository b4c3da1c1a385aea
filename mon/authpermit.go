package mon

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// maxParsedCaps bounds the texts of caps that are kept as parsed.
const maxParsedCaps = 1024

// parsed gives caps by their text; what can't be read allows nothing.
func (a *authService) parsed(text string) cephx.MonCaps {
	c, ok := a.caps[text]
	if !ok {
		if a.caps == nil || len(a.caps) >= maxParsedCaps {
			a.caps = make(map[string]cephx.MonCaps)
		}
		c, _ = cephx.ParseMonCaps(text)
		a.caps[text] = c
	}
	return c
}

// identity is who the peer proved to be, nil if it may do everything.
func (s *session) identity() *msgr.Identity {
	if id := s.c.Identity(); id != nil && !id.Trusted {
		return id
	}
	return nil
}

// allows reports whether the session's caps allow q, whose Name and Addr it
// fills in.
func (m *Mon) allows(s *session, q cephx.MonRequest) bool {
	id := s.identity()
	if id == nil {
		return true
	}
	q.Name, q.Addr = id.Name, s.c.PeerAddr().IP.Addr()
	return m.auth.parsed(id.Caps).Allows(q)
}

// permits says whether the caller may run a command. A command of this
// process, which has no session, may do everything; everybody may ask which
// commands there are.
func (m *Mon) permits(c *call, prefix string, s *spec) (status string, e wire.Errno) {
	if c.sess == nil || c.sess.identity() == nil || prefix == "get_command_descriptions" {
		return "", 0
	}
	q := cephx.MonRequest{Service: module(prefix), Command: prefix, Args: c.args.text(),
		Read: strings.Contains(s.perm, "r"), Write: strings.Contains(s.perm, "w"), Exec: strings.Contains(s.perm, "x")}
	if !m.allows(c.sess, q) {
		return "access denied", wire.EACCES
	}
	return "", 0
}

// text gives the arguments as caps compare them. The caps that a command is
// to give are each an argument of its own: caps_osd.
func (a args) text() map[string]string {
	out := make(map[string]string, len(a))
	for k := range a {
		if k == "prefix" {
			continue
		}
		list := a.list(k)
		if k == "caps" && len(list)%2 == 0 {
			for i := 0; i < len(list); i += 2 {
				out["caps_"+list[i]] = list[i+1]
			}
			continue
		}
		if _, many := a[k].([]any); many {
			out[k] = "[" + strings.Join(list, ",") + "]"
			continue
		}
		out[k] = a.str(k)
	}
	return out
}

// permitsMessage says whether a session may send a message at all; what it
// may not is dropped, as Ceph does. Commands and operations on pools are not
// judged here: they have an answer for the refused.
func (m *Mon) permitsMessage(s *session, msg wire.Message) bool {
	id := s.identity()
	if id == nil {
		return true
	}
	ok := true
	switch msg.(type) {
	case *wire.MMonGetVersion:
		ok = m.allows(s, cephx.MonRequest{Service: "mon", Read: true})
	case *wire.MStatfs, *wire.MGetPoolStats:
		ok = m.allows(s, cephx.MonRequest{Service: "pg", Read: true})
	case *wire.MLog:
		ok = m.allows(s, cephx.MonRequest{Service: "log", Write: true})
	case *wire.MOSDBoot, *wire.MOSDAlive, *wire.MOSDMarkDown, *wire.MOSDFailure, *wire.MOSDPGTemp, *wire.MOSDStats, *wire.MOSDPurged:
		ok = id.Name == s.c.Peer().AuthName() && m.allows(s, cephx.MonRequest{Service: "osd", Exec: true})
	}
	if !ok {
		m.log.Warn("message not allowed", "type", fmt.Sprintf("%T", msg), "from", id.Name.String(), "as", s.c.Peer().String())
	}
	return ok
}

// permitsSubscription says whether a session may have what it subscribes to.
func (m *Mon) permitsSubscription(s *session, what string) bool {
	switch what {
	case wire.SubMonMap, wire.SubConfig, wire.SubMgrMap:
		return true
	case wire.SubOSDMap:
		return m.allows(s, cephx.MonRequest{Service: "osd", Read: true})
	}
	return m.allows(s, cephx.MonRequest{Service: "mon", Read: true})
}

// permitsPoolOp says whether a session may change a pool by message. Ids for
// snapshots of its own are had by whoever may write the pool.
func (m *Mon) permitsPoolOp(s *session, msg *wire.MPoolOp) bool {
	id := s.identity()
	if id == nil {
		return true
	}
	if msg.Op != wire.PoolCreateOwnSnap && msg.Op != wire.PoolDeleteOwnSnap {
		return m.allows(s, cephx.MonRequest{Service: "osd", Write: true})
	}
	pool, known := m.osd.cur.PoolNames[msg.Pool]
	q := cephx.MonRequest{Service: "osd", Command: "osd pool op unmanaged-snap", Write: true}
	if known {
		q.Args = map[string]string{"poolname": pool}
	}
	if m.allows(s, q) {
		return true
	}
	caps, err := cephx.ParseOSDCaps(m.auth.ring[id.Name].Caps["osd"])
	return err == nil && caps.WritesPool(pool)
}

// permitsRemoveSnaps says whether a session may remove snapshots of any pool.
func (m *Mon) permitsRemoveSnaps(s *session) bool {
	return m.allows(s, cephx.MonRequest{Service: "osd", Command: "osd pool rmsnap", Read: true, Write: true})
}

// osdCaps is what an OSD may do.
var osdCaps = map[string]string{"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"}

// afterOSDNew ends "osd new" by answer, after it has put in the key that came
// with the command as Ceph's tools give it.
func (m *Mon) afterOSDNew(c *call, id int32, answer func()) {
	var given struct {
		Key string `json:"cephx_secret"`
	}
	if len(c.in) == 0 || json.Unmarshal(c.in, &given) != nil || given.Key == "" {
		answer()
		return
	}
	key, err := cephx.ParseKey(given.Key)
	if err != nil {
		c.fail(wire.EINVAL, "cephx_secret: %v", err)
		return
	}
	n := wire.EntityName{Type: wire.EntityOSD, Num: int64(id)}.AuthName()
	m.auth.change(func(v *authView) func(wire.Errno) {
		e := wire.EEXIST
		if have, ok := v.get(n); !ok {
			e = v.put(n, cephx.Entity{Key: key, Caps: osdCaps})
		} else if have.Key.Equal(key) {
			e = 0
		}
		return func(lost wire.Errno) {
			if e = max(e, lost); e != 0 {
				c.fail(e, "key of %s: %v", n, e)
				return
			}
			answer()
		}
	})
}

// afterOSDGone ends the removal of an OSD by answer, after its key is gone
// too.
func (m *Mon) afterOSDGone(id int32, answer func()) {
	n := wire.EntityName{Type: wire.EntityOSD, Num: int64(id)}.AuthName()
	m.auth.change(func(v *authView) func(wire.Errno) {
		if _, ok := v.get(n); ok {
			v.remove(n)
		}
		return func(wire.Errno) { answer() }
	})
}
