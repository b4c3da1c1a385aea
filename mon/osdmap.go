package mon

import (
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// Keys of the osdmap service, and its bounds.
const (
	keyFull     = "full" // the newest map as a whole
	keyInc      = "inc/" // + epoch: the increment to it
	keepIncs    = 500    // increments kept at least
	keepMost    = 20_000 // and at most, even if placement groups are not clean
	trimPerStep = 50     // dropped in one step
	mapsPerMsg  = 40     // increments in one message
	mapGap      = 50 * time.Millisecond
	incCacheLen = 128 // increments kept in memory
)

// osdService keeps the OSD map. Its version is the map's epoch. Changes gather
// in an increment, which the leader completes, with the checksum of the map
// that it leads to, and proposes; members store its bytes and verify that sum.
type osdService struct {
	m     *Mon
	stats *statTable

	cur     *clustermap.OSDMap // committed
	staged  *clustermap.OSDMap // applied in the batch that is being synced
	ver     uint64
	encoded map[wire.Epoch][]byte // recent increments
	first   wire.Epoch            // the oldest increment in the KV

	// The leader's.
	pend     *clustermap.Incremental // on top of base()
	pendView *clustermap.OSDMap      // base() with pend, when it was asked for
	urgent   bool
	waiting  []func(wire.Errno, wire.Epoch)
	flying   *clustermap.OSDMap // proposed
	flyWait  []func(wire.Errno, wire.Epoch)
	lastStep time.Time

	owner    map[int32]*session                // whose end is the OSD's end
	missing  map[int32]time.Time               // up without a session since
	boots    map[int32]pendingBoot             // wait for the former self to be marked down
	failures map[int32]map[int32]failureReport // target -> reporter
	purges   map[poolSnap]map[uint32]bool

	healthSeen map[string]string // code -> message of the checks when health was looked at last
	healthAt   time.Time
}

func newOSDService(m *Mon) *osdService {
	s := &osdService{m: m, stats: newStatTable(), encoded: make(map[wire.Epoch][]byte)}
	s.resetLeader()
	return s
}

func (s *osdService) resetLeader() {
	s.pend, s.pendView, s.flying, s.urgent = nil, nil, nil, false
	s.owner, s.missing = make(map[int32]*session), make(map[int32]time.Time)
	s.boots, s.failures = make(map[int32]pendingBoot), make(map[int32]map[int32]failureReport)
	s.purges = make(map[poolSnap]map[uint32]bool)
}

func (s *osdService) name() string    { return "osdmap" }
func (s *osdService) version() uint64 { return s.ver }

func (s *osdService) load(kv KV, version uint64) error {
	b, err := kv.Get(stateKey(s.name(), []byte(keyFull)))
	if err != nil {
		return err
	}
	if b, err = unseal("osdmap", b); err != nil {
		return err
	}
	if s.cur, err = clustermap.DecodeOSDMap(b); err != nil {
		return err
	}
	if uint64(s.cur.Epoch) != version {
		return wire.Errorf("mon.load: osdmap of another epoch than its version", "", wire.EIO)
	}
	s.ver, s.staged = version, s.cur
	s.first = s.cur.Epoch + 1
	prefix := stateKey(s.name(), []byte(keyInc))
	found := wire.Errorf("mon.load", "", wire.EEXIST)
	err = kv.Range(prefix, prefixEnd(prefix), func(k, _ []byte) error {
		s.first = wire.Epoch(wire.NewDecoder(reverse(k[len(prefix):])).U64())
		return found
	})
	if err == found {
		return nil
	}
	return err
}

// reverse turns a key's big-endian number into what Decoder reads.
func reverse(b []byte) []byte {
	r := make([]byte, len(b))
	for i := range b {
		r[len(b)-1-i] = b[i]
	}
	return r
}

func (s *osdService) lead(on bool) {
	for _, fn := range append(s.flyWait, s.waiting...) {
		fn(wire.EAGAIN, 0)
	}
	s.flyWait, s.waiting = nil, nil
	s.resetLeader()
	if on {
		s.lastStep = time.Time{}
	}
}

// base is what pending changes stand on: the proposed map or the committed.
func (s *osdService) base() *clustermap.OSDMap {
	if s.flying != nil {
		return s.flying
	}
	return s.cur
}

// view is the map with everything that is pending. Handlers decide by it, so
// that two requests in one step see each other.
func (s *osdService) view() *clustermap.OSDMap {
	if s.pend == nil {
		return s.base()
	}
	if s.pendView == nil {
		v, err := s.base().Apply(s.pend)
		if err != nil {
			panic("mon: pending osdmap does not apply: " + err.Error())
		}
		s.pendView = v
	}
	return s.pendView
}

// change gives the pending increment, for a change that is about to be made.
// done, if not nil, is told the epoch that has it.
func (s *osdService) change(urgent bool, done func(wire.Errno, wire.Epoch)) *clustermap.Incremental {
	if s.pend == nil {
		s.pend = s.base().NewIncremental(wire.TimeOf(s.m.opts.Now()))
	}
	s.pendView = nil
	s.urgent = s.urgent || urgent
	if done != nil {
		s.waiting = append(s.waiting, done)
	}
	return s.pend
}

func (s *osdService) propose(now time.Time) *proposal {
	if s.flying != nil || s.pend == nil || !s.urgent && now.Sub(s.lastStep) < mapGap {
		return nil
	}
	inc := s.pend
	inc.Modified = max(wire.TimeOf(now), s.cur.Modified)
	next, err := s.cur.Seal(inc)
	if err != nil {
		panic("mon: pending osdmap does not apply: " + err.Error())
	}
	s.flying, s.flyWait = next, s.waiting
	s.pend, s.pendView, s.waiting, s.urgent = nil, nil, nil, false
	s.lastStep = now
	p := &proposal{service: s.name(), prior: uint64(s.cur.Epoch), next: uint64(next.Epoch),
		changes: []Change{{Key: numKey(keyInc, uint64(next.Epoch)), Value: seal(inc.Encode())}}}
	for e := s.first; e < s.keepFrom(next.Epoch) && len(p.changes) <= trimPerStep; e++ {
		p.changes = append(p.changes, Change{Key: numKey(keyInc, uint64(e)), Delete: true})
	}
	return p
}

// keepFrom is the first epoch whose increment an OSD may still ask for: none
// from before all placement groups were clean is needed.
func (s *osdService) keepFrom(newest wire.Epoch) wire.Epoch {
	if newest < keepIncs {
		return 0
	}
	keep := newest - keepIncs + 1
	for id, p := range s.cur.Pools {
		for seed := range p.PGNum {
			clean := wire.Epoch(0)
			if r := s.stats.pgs[wire.PGID{Pool: id, Seed: seed}]; r != nil {
				clean = r.LastEpochClean
			}
			keep = min(keep, clean)
		}
	}
	if newest > keepMost {
		keep = max(keep, newest-keepMost)
	}
	return keep
}

func (s *osdService) apply(b *Batch, p *proposal) error {
	if len(p.changes) == 0 {
		return wire.Errorf("mon.apply: osdmap step", "", wire.EIO)
	}
	bytes, err := unseal("osdmap increment", p.changes[0].Value)
	if err != nil {
		return err
	}
	if s.flying != nil && uint64(s.flying.Epoch) == p.next {
		s.staged = s.flying
	} else {
		inc, err := clustermap.DecodeIncremental(bytes)
		if err != nil {
			return err
		}
		next, err := s.staged.Apply(inc)
		if err != nil {
			return err
		}
		if err := next.VerifyFull(inc); err != nil {
			return err
		}
		s.staged = next
	}
	epoch := s.staged.Epoch
	b.Put(stateKey(s.name(), []byte(keyFull)), seal(s.staged.Encode()))
	s.first = min(s.first, epoch) + wire.Epoch(len(p.changes)-1)
	s.encoded[epoch] = bytes
	if epoch >= incCacheLen {
		delete(s.encoded, epoch-incCacheLen)
	}
	s.ver = p.next
	return nil
}

func (s *osdService) committed(p *proposal, mine bool) {
	s.cur = s.staged
	// Whoever is told of the change finds it in Mon.OSDMap.
	s.m.osdmap.Store(s.cur)
	if mine && s.flying != nil && uint64(s.flying.Epoch) == p.next {
		s.flying = nil
		for _, fn := range s.flyWait {
			fn(0, s.cur.Epoch)
		}
		s.flyWait = nil
		s.retryBoots()
		s.forgetPurged()
	}
	s.m.publishOSDMap()
}

// oldest is the first epoch that can be given as an increment.
func (s *osdService) oldest() wire.Epoch { return s.first }

// increment gives the encoded increment to epoch e, nil if it is not kept.
func (s *osdService) increment(e wire.Epoch) []byte {
	if b := s.encoded[e]; b != nil {
		return b
	}
	b, err := s.m.opts.KV.Get(stateKey(s.name(), numKey(keyInc, uint64(e))))
	if err == nil && b != nil {
		b, err = unseal("osdmap increment", b)
	}
	if err != nil {
		s.m.log.Error("osdmap increment can't be read", "epoch", e, "err", err)
		return nil
	}
	return b
}

// maps makes the messages that bring a receiver from start-1 to the newest
// epoch; start 0 means the newest map alone.
func (s *osdService) maps(start wire.Epoch) []*wire.MOSDMap {
	cur := s.cur.Epoch
	full := func() []*wire.MOSDMap {
		return []*wire.MOSDMap{{FSID: s.m.fsid, Fulls: map[wire.Epoch][]byte{cur: s.cur.Encode()},
			Oldest: s.first, Newest: cur}}
	}
	if start == 0 || start < s.first {
		return full()
	}
	var out []*wire.MOSDMap
	for e := start; e <= cur; {
		msg := &wire.MOSDMap{FSID: s.m.fsid, Incrementals: make(map[wire.Epoch][]byte), Oldest: s.first, Newest: cur}
		for ; e <= cur && len(msg.Incrementals) < mapsPerMsg; e++ {
			b := s.increment(e)
			if b == nil {
				return full()
			}
			msg.Incrementals[e] = b
		}
		out = append(out, msg)
	}
	return out
}
