package mon

import (
	"fmt"
	"slices"
	"time"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

const maxBlocklist = 65536

// failureReport is one OSD's word that another one does not answer.
type failureReport struct {
	since time.Time // it was last heard of
}

// pendingBoot is a boot that waits until the map has its OSD down.
type pendingBoot struct {
	s   *session
	msg *wire.MOSDBoot
}

// boot marks an OSD up. One that the map calls up at another address has
// died without our notice: it is marked down first, in an epoch of its own,
// so that everybody sees a new interval.
func (s *osdService) boot(sess *session, msg *wire.MOSDBoot) {
	id, view := msg.OSD, s.view()
	if !s.admits(view, msg) {
		return
	}
	if view.IsUp(id) {
		if view.Addr(id) == msg.Public {
			s.own(sess, id)
			return
		}
		s.boots[id] = pendingBoot{sess, msg}
		s.markDown(id)
		return
	}
	if s.base().IsUp(id) { // going down in the pending step
		s.boots[id] = pendingBoot{sess, msg}
		return
	}
	if _, placed := crushWeights(view.Crush)[id]; !placed {
		if err := s.addDevice(view, msg); err != nil {
			s.m.log.Error("osd can't be placed", "osd", id, "err", err)
			return
		}
	}
	inc := s.change(true, nil)
	pub := []wire.Addr{msg.Public}
	inc.BringUp(view, id, msg.UUID, pub, []wire.Addr{msg.Cluster}, pub, pub)
	inc.NewUUID[id] = msg.UUID
	inc.NewLastUp = inc.Modified
	if view.Exists(id) && view.OSDs[id].State&clustermap.StateAutoOut != 0 && view.Flags&clustermap.FlagNoIn == 0 {
		inc.NewWeight[id] = clustermap.WeightIn
		if w := view.OSDs[id].XInfo.OldWeight; w != 0 {
			inc.NewWeight[id] = w
		}
	}
	s.own(sess, id)
	s.m.log.Info("osd boots", "osd", id, "addr", msg.Public.String())
	s.m.clog.write(logInfo, "osd.%d %s boot", id, msg.Public)
}

// admits checks a boot message.
func (s *osdService) admits(view *clustermap.OSDMap, msg *wire.MOSDBoot) bool {
	id := msg.OSD
	switch {
	case id >= clustermap.MaxOSDs || msg.Public.Type != wire.AddrMsgr2:
		s.m.log.Error("osd boot is malformed", "osd", id, "addr", msg.Public.String())
	case view.Exists(id) && view.OSDs[id].UUID != (wire.FSID{}) && view.OSDs[id].UUID != msg.UUID:
		s.m.log.Error("osd boot refused: the number belongs to another store", "osd", id,
			"uuid", msg.UUID.String(), "owner", view.OSDs[id].UUID.String())
	case view.Flags&clustermap.FlagNoUp != 0 || view.Exists(id) && view.OSDs[id].State&clustermap.StateNoUp != 0:
		s.m.log.Warn("osd boot refused: noup is set", "osd", id)
	case !view.Exists(id) && id >= view.MaxOSD() && id != view.MaxOSD():
		s.m.log.Error("osd boot refused: numbers are given out in order", "osd", id, "next", view.MaxOSD())
	default:
		return true
	}
	return false
}

// addDevice gives an OSD a place in the CRUSH map, under its host.
func (s *osdService) addDevice(view *clustermap.OSDMap, msg *wire.MOSDBoot) error {
	host, weight := msg.Host, msg.Weight
	if host == "" {
		host = hostname()
	}
	if weight == 0 {
		weight = clustermap.WeightIn
	}
	c := view.Crush.Clone()
	at := []crush.Location{{Type: "host", Name: host}, {Type: "root", Name: "default"}}
	if err := c.AddDevice(msg.OSD, fmt.Sprintf("osd.%d", msg.OSD), weight, at); err != nil {
		return err
	}
	s.change(true, nil).Crush = c.Encode()
	return nil
}

// own makes a session the one whose end is the OSD's end.
func (s *osdService) own(sess *session, id int32) {
	if old := s.owner[id]; old != nil && old != sess {
		old.osd = -1
	}
	sess.osd = id
	s.owner[id] = sess
	delete(s.missing, id)
	delete(s.failures, id)
}

// attach makes the session of a running OSD its owner again after the mon or
// the session was renewed. A session that names no listening address is
// believed.
func (s *osdService) attach(sess *session, id int32) {
	a := sess.c.PeerAddr()
	if s.owner[id] == nil && s.cur.IsUp(id) && (a.IP.Port() == 0 || a == s.cur.Addr(id)) {
		s.own(sess, id)
	}
}

// markDown adds to the pending step that an OSD is down; harmless if it is.
func (s *osdService) markDown(id int32) {
	if !s.view().IsUp(id) {
		return
	}
	inc := s.change(true, nil)
	if _, ok := inc.NewUpClient[id]; ok {
		delete(inc.NewUpClient, id)
		delete(inc.NewUpCluster, id)
		delete(inc.NewHBBack, id)
		delete(inc.NewHBFront, id)
	}
	if s.base().IsUp(id) && inc.NewState[id]&clustermap.StateUp == 0 {
		inc.NewState[id] ^= clustermap.StateUp
	}
	inc.NewLastUp = inc.Modified
	delete(s.failures, id)
	s.m.log.Info("osd is marked down", "osd", id)
}

// sessionLost ends the OSD that lived by the session.
func (s *osdService) sessionLost(sess *session) {
	id := sess.osd
	if b, ok := s.boots[id]; ok && b.s == sess {
		delete(s.boots, id)
	}
	if s.owner[id] != sess {
		return
	}
	delete(s.owner, id)
	if view := s.view(); s.m.leader && view.IsUp(id) && s.mayGoDown(view, id) {
		s.m.clog.write(logInfo, "osd.%d failed: its session with the mon ended", id)
		s.markDown(id)
	}
}

// retryBoots takes up boots that waited for a step.
func (s *osdService) retryBoots() {
	for id, b := range s.boots {
		if s.base().IsUp(id) {
			continue
		}
		delete(s.boots, id)
		if s.m.sessions[b.s.c] == b.s {
			s.boot(b.s, b.msg)
		}
	}
}

func (s *osdService) alive(sess *session, msg *wire.MOSDAlive) {
	s.attach(sess, msg.OSD)
	want := min(msg.Want, s.base().Epoch)
	if !s.view().IsUp(msg.OSD) || s.view().Info(msg.OSD).UpThru >= want {
		return
	}
	s.change(true, nil).NewUpThru[msg.OSD] = want
}

func (s *osdService) goodbye(sess *session, msg *wire.MOSDMarkDown) {
	if s.owner[msg.OSD] == sess {
		delete(s.owner, msg.OSD)
		sess.osd = -1
		s.markDown(msg.OSD)
	}
}

// failure takes a report, or takes it back.
func (s *osdService) failure(sess *session, msg *wire.MOSDFailure) {
	s.attach(sess, msg.Reporter)
	view := s.view()
	if !view.IsUp(msg.Target) || !view.IsUp(msg.Reporter) || view.Addr(msg.Target) != msg.TargetAddr || msg.Target == msg.Reporter {
		return
	}
	if msg.FailedFor <= 0 {
		delete(s.failures[msg.Target], msg.Reporter)
		return
	}
	if s.failures[msg.Target] == nil {
		s.failures[msg.Target] = make(map[int32]failureReport)
	}
	now := s.m.opts.Now()
	s.failures[msg.Target][msg.Reporter] = failureReport{since: now.Add(-min(time.Duration(msg.FailedFor), maxFailedFor))}
	s.weighFailure(msg.Target, now)
}

// maxFailedFor bounds what a reporter may claim.
const maxFailedFor = 24 * time.Hour

// weighFailure marks an OSD down if enough others that are up, or all of
// them, have not heard of it for the grace.
func (s *osdService) weighFailure(target int32, now time.Time) {
	view := s.view()
	grace := time.Duration(s.m.optionFloat("osd_heartbeat_grace") * float64(time.Second))
	n := 0
	for reporter, r := range s.failures[target] {
		if !view.IsUp(reporter) {
			delete(s.failures[target], reporter)
		} else if now.Sub(r.since) >= grace {
			n++
		}
	}
	if len(s.failures[target]) == 0 || !view.IsUp(target) {
		delete(s.failures, target)
		return
	}
	need := min(int(s.m.optionInt("mon_osd_min_down_reporters")), view.NumUp()-1)
	if n >= max(need, 1) && s.mayGoDown(view, target) {
		s.m.clog.write(logInfo, "osd.%d failed (%s reported it)", target, plural(n, "osd"))
		s.markDown(target)
	}
}

// mayGoDown reports whether no flag keeps an OSD up.
func (s *osdService) mayGoDown(view *clustermap.OSDMap, id int32) bool {
	return view.Flags&clustermap.FlagNoDown == 0 && view.OSDs[id].State&clustermap.StateNoDown == 0
}

func (s *osdService) pgTemp(sess *session, msg *wire.MOSDPGTemp) {
	s.attach(sess, msg.OSD)
	view := s.view()
	for pg, osds := range msg.Temp {
		p := view.Pool(pg.Pool)
		if p == nil || pg.Seed >= p.PGNum || len(osds) > int(p.Size)+1 || slices.Equal(view.PGTemp[pg], osds) ||
			slices.ContainsFunc(osds, func(o int32) bool { return !view.Exists(o) }) {
			continue
		}
		s.change(false, nil).NewPGTemp[pg] = slices.Clone(osds)
	}
}

// tick does what time brings: OSDs that did not come back after the mon's
// start, OSDs down for long, blocklist entries that ran out, fullness.
func (s *osdService) tick(now time.Time) {
	view := s.view()
	for i := range view.OSDs {
		id := int32(i)
		if view.IsUp(id) && s.owner[id] == nil {
			since, ok := s.missing[id]
			if !ok {
				s.missing[id] = now
			} else if now.Sub(since) >= s.m.opts.OSDGrace && s.mayGoDown(view, id) {
				s.markDown(id)
			}
		}
	}
	s.markOut(now)
	for a, until := range view.Blocklist {
		if until <= wire.TimeOf(now) {
			inc := s.change(false, nil)
			inc.OldBlocklist = append(inc.OldBlocklist, a)
		}
	}
	for target := range s.failures {
		s.weighFailure(target, now)
	}
	s.followPGNum(now)
	s.checkFull()
	s.stats.sample(now)
	if now.Sub(s.healthAt) >= healthGap {
		s.healthAt = now
		s.watchHealth()
	}
}

// healthGap is how often the checks are compared with what they were.
const healthGap = time.Second

func (s *osdService) markOut(now time.Time) {
	view := s.view()
	if s.m.opts.OutAfter < 0 || view.Flags&clustermap.FlagNoOut != 0 {
		return
	}
	exist, in := 0, 0
	for i := range view.OSDs {
		if view.Exists(int32(i)) {
			exist++
		}
		if view.IsIn(int32(i)) {
			in++
		}
	}
	for i := range view.OSDs {
		id := int32(i)
		o := &view.OSDs[i]
		if !view.IsIn(id) || view.IsUp(id) || o.XInfo.DownStamp == 0 ||
			now.Sub(o.XInfo.DownStamp.Std()) < s.m.opts.OutAfter || float64(in-1) < s.m.optionFloat("mon_osd_min_in_ratio")*float64(exist) || o.State&clustermap.StateNoOut != 0 {
			continue
		}
		inc := s.change(false, nil)
		x := o.XInfo
		x.OldWeight = o.Weight
		inc.NewXInfo[id], inc.NewWeight[id] = x, 0
		inc.NewState[id] |= clustermap.StateAutoOut &^ o.State
		inc.NewLastIn = inc.Modified
		in--
		s.m.log.Warn("osd is marked out: it was down for long", "osd", id)
	}
}
