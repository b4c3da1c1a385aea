package mon

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// addOSDLife adds the commands by which OSDs come and go.
func addOSDLife(t commands) {
	const sure = " name=yes_i_really_mean_it,type=CephBool,req=false"
	t.add("osd new name=uuid,type=CephUUID name=id,type=CephOsdName,req=false", "give a store a number", "rw", cmdOSDNew)
	t.add("osd create name=uuid,type=CephUUID,req=false name=id,type=CephOsdName,req=false", "give a store a number", "rw", cmdOSDCreate)
	t.add("osd rm name=ids,type=CephString,n=N", "remove OSDs from the map", "rw", cmdOSDRemove)
	t.add("osd destroy name=id,type=CephOsdName name=force,type=CephBool,req=false"+sure, "give up an OSD's data, keep its number", "rw", cmdOSDDestroy)
	t.add("osd destroy-actual name=id,type=CephOsdName"+sure, "give up an OSD's data, keep its number", "rw", cmdOSDDestroy)
	t.add("osd purge name=id,type=CephOsdName name=force,type=CephBool,req=false"+sure, "remove all that is known of an OSD", "rw", cmdOSDPurge)
	t.add("osd purge-actual name=id,type=CephOsdName"+sure, "remove all that is known of an OSD", "rw", cmdOSDPurge)
	t.add("osd purge-new name=id,type=CephOsdName"+sure, "remove an OSD that never started", "rw", cmdOSDPurge)
	t.add("osd lost name=id,type=CephOsdName"+sure, "give up the data of an OSD", "rw", cmdOSDLost)
	t.add("osd safe-to-destroy name=ids,type=CephString,n=N", "say whether data would be lost", "r", cmdSafeToDestroy)
	t.add("osd ok-to-stop name=ids,type=CephString,n=N name=max,type=CephInt,req=false", "say whether data would become unavailable", "r", cmdOKToStop)
}

// wantedID reads the optional id of a new OSD, -1 for none.
func (c *call) wantedID() (int32, bool) {
	if c.args["id"] == nil || c.args.str("id") == "" {
		return -1, true
	}
	id, ok := parseOSD(c.args.str("id"))
	if !ok || id >= clustermap.MaxOSDs {
		c.fail(wire.EINVAL, "invalid osd id '%s'", c.args.str("id"))
		return 0, false
	}
	return id, true
}

func cmdOSDNew(c *call) {
	uuid, ok := parseUUID(c.args.str("uuid"))
	if !ok {
		c.fail(wire.EINVAL, "not a uuid: %s", c.args.str("uuid"))
		return
	}
	if want, ok := c.wantedID(); ok {
		c.newOSD(uuid, want)
	}
}

func cmdOSDCreate(c *call) {
	uuid := wire.FSID{}
	if s := c.args.str("uuid"); s != "" {
		var ok bool
		if uuid, ok = parseUUID(s); !ok {
			c.fail(wire.EINVAL, "not a uuid: %s", s)
			return
		}
	}
	if want, ok := c.wantedID(); ok {
		c.newOSD(uuid, want)
	}
}

// newOSD gives a store its number: the one it has already, the one wanted, or
// the lowest that is free. A destroyed OSD's number may be taken over.
func (c *call) newOSD(uuid wire.FSID, want int32) {
	view := c.m.osd.view()
	answer := func(id int32) func(wire.Errno, wire.Epoch) {
		return func(e wire.Errno, epoch wire.Epoch) {
			if e != 0 {
				c.fail(e, "%v", e)
				return
			}
			c.seen = uint64(epoch)
			c.m.afterOSDNew(c, id, func() { c.output(obj{{"osdid", id}}, itoa(id)+"\n") })
		}
	}
	id := want
	for i := range view.OSDs {
		o := int32(i)
		switch {
		case view.Exists(o) && uuid != (wire.FSID{}) && view.OSDs[i].UUID == uuid && want >= 0 && want != o:
			c.fail(wire.EEXIST, "uuid %s already in use for different id %d", uuid, i)
			return
		case view.Exists(o) && uuid != (wire.FSID{}) && view.OSDs[i].UUID == uuid:
			answer(o)(0, c.m.osd.cur.Epoch)
			return
		case id < 0 && !view.Exists(o):
			id = o
		}
	}
	if id < 0 {
		id = view.MaxOSD()
	}
	destroyed := view.Exists(id) && view.OSDs[id].State&clustermap.StateDestroyed != 0
	switch {
	case id >= clustermap.MaxOSDs:
		c.fail(wire.ERANGE, "too many osds")
		return
	case view.Exists(id) && !destroyed:
		c.fail(wire.EEXIST, "id %d already in use and does not match uuid %s", id, uuid)
		return
	}
	inc := c.m.osd.change(true, answer(id))
	if id >= view.MaxOSD() {
		inc.NewMaxOSD = id + 1
	}
	if destroyed {
		inc.NewState[id] ^= clustermap.StateDestroyed | clustermap.StateNew&^view.OSDs[id].State
	} else {
		inc.NewState[id] ^= clustermap.StateExists | clustermap.StateNew
	}
	inc.NewWeight[id] = clustermap.WeightIn
	inc.NewUUID[id] = uuid
}

// forget drops an OSD from the map that the pending increment makes.
func (s *osdService) forget(id int32) {
	view := s.view()
	if !view.Exists(id) {
		return
	}
	inc := s.change(true, nil)
	delete(inc.NewState, id)
	delete(inc.NewUUID, id)
	delete(inc.NewWeight, id)
	if s.base().Exists(id) {
		inc.NewState[id] = clustermap.StateExists // toggled off, all the rest goes with it
		inc.NewWeight[id] = 0
	}
	s.m.log.Info("osd is removed", "osd", id)
}

func cmdOSDRemove(c *call) {
	ids, ok := c.ids()
	if !ok {
		return
	}
	words, changed := "", false
	for _, id := range ids {
		switch view := c.m.osd.view(); {
		case !view.Exists(id):
			words += fmt.Sprintf("osd.%d does not exist. ", id)
		case view.IsUp(id):
			c.fail(wire.EBUSY, "osd.%d is still up; must be down before removal. ", id)
			return
		default:
			c.m.osd.forget(id)
			if words != "" {
				words += ", "
			}
			words, changed = words+"removed osd."+itoa(id), true
		}
	}
	c.finishChange(changed, words)
}

// gone checks what destroy and purge ask for, and ends the command if it may
// not go on.
func (c *call) gone(what string) (int32, bool) {
	id, ok := parseOSD(c.args.str("id"))
	view := c.m.osd.view()
	switch {
	case !ok:
		c.fail(wire.EINVAL, "invalid osd id '%s'", c.args.str("id"))
	case !view.Exists(id):
		c.ok("osd.%d does not exist", id)
		ok = false
	case !c.args.sure():
		c.fail(wire.EPERM, "Are you SURE?  Did you verify with 'ceph osd safe-to-destroy'?  This will %s osd.%d and with it data that is nowhere else.  Pass --yes-i-really-mean-it if you really do.", what, id)
		ok = false
	case view.IsUp(id):
		c.fail(wire.EBUSY, "osd.%d is not `down`.", id)
		ok = false
	}
	return id, ok
}

func cmdOSDDestroy(c *call) {
	id, ok := c.gone("destroy")
	if !ok {
		return
	}
	view := c.m.osd.view()
	if view.OSDs[id].State&clustermap.StateDestroyed != 0 {
		c.ok("destroyed osd.%d", id)
		return
	}
	inc := c.m.osd.change(true, func(e wire.Errno, _ wire.Epoch) {
		if e != 0 {
			c.fail(e, "%v", e)
			return
		}
		c.m.afterOSDGone(id, func() { c.ok("destroyed osd.%d", id) })
	})
	inc.NewState[id] ^= clustermap.StateDestroyed
	inc.NewUUID[id] = wire.FSID{}
}

func cmdOSDPurge(c *call) {
	id, ok := c.gone("purge")
	if !ok {
		return
	}
	m := c.m.osd.view().Crush.Clone()
	if _, placed := m.Names[id]; placed {
		if err := m.Remove(id); err != nil {
			c.fail(wire.EINVAL, "osd.%d can't be taken out of the CRUSH map: %v", id, err)
			return
		}
		c.m.osd.setCrush(m)
	}
	c.m.osd.forget(id)
	c.m.osd.change(true, func(e wire.Errno, _ wire.Epoch) {
		if e != 0 {
			c.fail(e, "%v", e)
			return
		}
		c.m.afterOSDGone(id, func() { c.ok("purged osd.%d", id) })
	})
}

func cmdOSDLost(c *call) {
	id, ok := c.osd("id")
	if !ok {
		return
	}
	view := c.m.osd.view()
	switch {
	case !c.args.sure():
		c.fail(wire.EPERM, "are you SURE?  this might mean real, permanent data loss.  pass --yes-i-really-mean-it if you really do.")
	case view.IsUp(id):
		c.fail(wire.EBUSY, "osd.%d is not down", id)
	default:
		inc := c.m.osd.change(true, c.committed("marked osd lost in epoch %d", c.m.osd.base().Epoch+1))
		inc.NewLost[id] = max(view.Info(id).DownAt, 1)
	}
}

func cmdSafeToDestroy(c *call) {
	ids, ok := c.ids()
	if !ok {
		return
	}
	s := c.m.osd
	uses := s.osdUses()
	unclean := 0
	for state, n := range s.pgStates() {
		if !isActive(state) || !isClean(state) {
			unclean += n
		}
	}
	safe, active, missing, stored := []int32{}, []int32{}, []int32{}, []int32{}
	pgs := 0
	for _, id := range ids {
		_, reported := s.stats.osds[id]
		switch {
		case !s.cur.Exists(id):
			safe = append(safe, id)
		case uses[id].pgs > 0:
			active, pgs = append(active, id), pgs+uses[id].pgs
		case unclean > 0 && !reported:
			missing = append(missing, id)
		case unclean > 0:
			stored = append(stored, id)
		default:
			safe = append(safe, id)
		}
	}
	var out []byte
	if c.isJSON() {
		out = encodeJSON(obj{{"safe_to_destroy", safe}, {"active", active}, {"missing_stats", missing}, {"stored_pgs", stored}}, c.args.str("format") != "json")
	}
	word := func(v []int32) string { return strings.Trim(osdList(v), "[]") }
	switch {
	case len(active) > 0:
		c.finish(wire.EBUSY, fmt.Sprintf("OSD(s) %s have %d pgs currently mapped to them. ", word(active), pgs), out)
	case len(missing) > 0:
		c.finish(wire.EAGAIN, fmt.Sprintf("OSD(s) %s have no reported stats, and not all PGs are active+clean; we cannot draw any conclusions. ", word(missing)), out)
	case len(stored) > 0:
		c.finish(wire.EBUSY, fmt.Sprintf("OSD(s) %s last reported they still store some PG data, and not all PGs are active+clean; we cannot be sure they aren't still needed.", word(stored)), out)
	default:
		c.finish(0, fmt.Sprintf("OSD(s) %s are safe to destroy without reducing data durability.", word(safe)), out)
	}
}

func cmdOKToStop(c *call) {
	ids, ok := c.ids()
	if !ok {
		return
	}
	m := c.m.osd.cur
	good, bad := 0, []string{}
	for _, pool := range poolIDs(m) {
		p := m.Pools[pool]
		for seed := range p.PGNum {
			pg := wire.PGID{Pool: pool, Seed: seed}
			acting := m.Map(pg).Acting
			left := 0
			for _, o := range acting {
				if m.Exists(o) && !slices.Contains(ids, o) {
					left++
				}
			}
			switch {
			case left < int(p.MinSize):
				bad = append(bad, pg.String())
			case left < len(acting):
				good++
			}
		}
	}
	v := obj{{"ok_to_stop", len(bad) == 0}, {"osds", ids}, {"num_ok_pgs", good}, {"num_not_ok_pgs", len(bad)}}
	if len(bad) > 0 {
		v = append(v, member{"bad_become_inactive", bad})
	}
	out := encodeJSON(v, c.args.str("format") == "json-pretty")
	if len(bad) > 0 {
		c.finish(wire.EBUSY, "unsafe to stop osd(s) at this time ("+strconv.Itoa(len(bad))+" PGs are or would become offline)", out)
		return
	}
	c.finish(0, "", out)
}
