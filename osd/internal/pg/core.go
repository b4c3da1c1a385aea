package pg

import (
	"fmt"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Interval is what a map says of a PG. Two maps with equal Intervals, Epoch
// aside, belong to the same interval.
type Interval struct {
	Up, Acting []int32
	Primary    int32 // of the acting set; -1 if there is none
	MinSize    int
	Size       int
	PGNum      uint32
	Exists     bool // the pool does
}

func equalOSDs(a, b []int32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (i *Interval) same(j *Interval) bool {
	return i.Primary == j.Primary && i.MinSize == j.MinSize && i.Size == j.Size && i.PGNum == j.PGNum &&
		i.Exists == j.Exists && equalOSDs(i.Acting, j.Acting) && equalOSDs(i.Up, j.Up)
}

// Write is a client's write from its admission to its answer. The OSD embeds
// it in its own request.
type Write struct {
	ReqID wire.ReqID
	Owner any // the request it is embedded in
	// Entry is its log entry once submitted; Result and what follows it
	// are what is answered.
	Entry Entry
	// Joined are resends of the same request that came meanwhile: they get
	// the same answer.
	Joined []*Write

	submitted bool
	forgotten bool   // a new interval came; nobody waits
	local     bool   // committed here
	waiting   uint64 // acting peers that have not committed, by position
}

// Ask is what admission needs to know of a request.
type Ask struct {
	Epoch wire.Epoch // of the client's map
	Write *Write     // nil for a request that only reads
}

// Dup is the result of a request that was done before.
type Dup struct {
	Version     wire.EVersion
	UserVersion uint64
	Result      int32
	// InRow: single operations have results, which the entry's row holds
	// (LogRow, DecodeEntry).
	InRow bool
}

// Verdict is what is to happen to a request.
type Verdict uint8

// The verdicts.
const (
	// Run: execute it. A write must come back as Submit or Forget.
	Run Verdict = iota
	// Drop: don't answer. The client will resend by a newer map.
	Drop
	// Hold: the PG can't serve now. Ask again when Effects.Resume says so.
	Hold
	// Answer: it was done before; the Dup says what came of it.
	Answer
	// Join: it is under way; the answer comes with the first one's.
	Join
)

// PeerMsg is a message to another OSD of the acting set.
type PeerMsg struct {
	OSD int32
	Msg wire.Message
}

// Effects is what the OSD is to carry out. Its owner empties it with Reset
// and uses it again.
type Effects struct {
	Send   []PeerMsg
	Answer []*Write // committed everywhere, in the order of their versions
	Forgot []*Write // a new interval began: no answer, the client resends
	Resume bool     // requests that were held may be asked again
}

// Reset empties f and keeps its memory.
func (f *Effects) Reset() {
	clear(f.Send)
	clear(f.Answer)
	clear(f.Forgot)
	f.Send, f.Answer, f.Forgot, f.Resume = f.Send[:0], f.Answer[:0], f.Forgot[:0], false
}

// Core is the state machine of one PG on one OSD.
type Core struct {
	id   wire.SPGID
	me   int32
	info Info
	log  log

	epoch    wire.Epoch
	since    wire.Epoch // first epoch of the current interval
	interval Interval
	active   bool
	confirm  uint64 // acting peers whose log is not yet known to equal ours, by position

	pending   map[wire.ReqID]*Write // admitted writes without an answer
	inflight  []*Write              // submitted, in version order; the part before first is done
	first     int
	submitted *Write // between Submit and Queued or Abort
	trim      int    // log entries that the submitted transaction trims
	before    Stats  // as of before the last Submit
	committed wire.EVersion

	replica []wire.EVersion // RepOps queued here as a replica and not committed
}

// New makes a PG that has never existed, at the epoch of the map that made
// it. The row to store is MetaSet(RowInfo, c.InfoRow()).
func New(id wire.SPGID, me int32, created wire.Epoch) *Core {
	return &Core{id: id, me: me, info: Info{Created: created}, log: newLog(), pending: map[wire.ReqID]*Write{},
		interval: Interval{Primary: -1}}
}

// Load reads a PG from its rows. ENODATA or ENOENT: this OSD has no such PG.
func Load(rows Rows, id wire.SPGID, me int32) (*Core, error) {
	raw, err := rows.MetaGet(id, RowInfo)
	if err != nil {
		return nil, wire.Wrap("load pg", id.String(), err)
	}
	c := New(id, me, 0)
	if c.info, err = DecodeInfo(raw); err == nil {
		err = c.log.load(rows, id, c.info.LogTail)
	}
	if err != nil {
		return nil, wire.Wrap("load pg", id.String(), &wire.Error{Op: "read rows", Kind: wire.EIO, Cause: err})
	}
	c.committed = c.log.head()
	return c, nil
}

// InfoRow is the value of the row RowInfo.
func (c *Core) InfoRow() []byte { return c.info.Encode() }

// Info is the PG's own record.
func (c *Core) Info() Info { return c.info }

// Stats counts what the PG holds, writes under way included.
func (c *Core) Stats() Stats { return c.log.stats }

// LastUpdate is the newest version of the log.
func (c *Core) LastUpdate() wire.EVersion { return c.log.head() }

// LogLen is the number of entries in the log.
func (c *Core) LogLen() int { return c.log.len() }

// Sets gives the up and acting sets of the current interval.
func (c *Core) Sets() (up, acting []int32) { return c.interval.Up, c.interval.Acting }

// Since is the first epoch of the current interval.
func (c *Core) Since() wire.Epoch { return c.since }

// Active reports whether the PG serves requests here.
func (c *Core) Active() bool { return c.active }

// Primary reports whether this OSD is the acting primary.
func (c *Core) Primary() bool { return c.interval.Exists && c.interval.Primary == c.me }

// State names the PG's state as Ceph's tools would.
func (c *Core) State() string {
	switch {
	case !c.interval.Exists:
		return "gone"
	case !c.Primary():
		return "stray or replica"
	case c.active && len(c.interval.Acting) < c.interval.Size:
		return "active+undersized"
	case c.active:
		return "active+clean"
	case len(c.interval.Acting) < c.interval.MinSize:
		return "undersized"
	}
	return "peering"
}

// MapAdvance brings a newer map. A new interval ends what was under way.
func (c *Core) MapAdvance(epoch wire.Epoch, to Interval, f *Effects) {
	if epoch < c.epoch {
		panic(fmt.Sprintf("pg %v: map %d after %d", c.id, epoch, c.epoch))
	}
	c.epoch = epoch
	if c.since != 0 && c.interval.same(&to) {
		return
	}
	c.since, c.interval = epoch, to
	c.active, c.confirm = false, 0
	c.forget(f)
	if !c.Primary() || len(to.Acting) < to.MinSize {
		return
	}
	for i, osd := range to.Acting {
		if osd != c.me {
			c.confirm |= 1 << i
		}
	}
	c.Tick(f)
	c.activate(f)
}

// Tick asks again the acting OSDs that have not confirmed our log.
func (c *Core) Tick(f *Effects) {
	for i, osd := range c.interval.Acting {
		if c.confirm&(1<<i) != 0 {
			f.Send = append(f.Send, PeerMsg{osd, &Query{PG: c.id, Epoch: c.since, From: c.me}})
		}
	}
}

// forget drops who waits for the writes under way. What was submitted stays
// in the log, and commits here.
func (c *Core) forget(f *Effects) {
	for _, w := range c.inflight[c.first:] {
		w.forgotten, w.waiting = true, 0
	}
	for id, w := range c.pending {
		if !w.submitted {
			w.forgotten = true
			delete(c.pending, id)
		}
		f.Forgot = append(f.Forgot, w)
		f.Forgot = append(f.Forgot, w.Joined...)
		w.Joined = nil
	}
}

// activate begins to serve once every acting OSD has confirmed our log.
func (c *Core) activate(f *Effects) {
	if c.active || c.confirm != 0 || !c.Primary() || len(c.interval.Acting) < c.interval.MinSize {
		return
	}
	c.active = true
	f.Resume = true
	c.advance(f)
}

// HandleNotify takes an acting peer's answer to Query. An equal log confirms
// it.
func (c *Core) HandleNotify(m *Notify, f *Effects) {
	i, ok := c.peer(m.From)
	if !ok || m.Since < c.since || m.PG != c.id || c.active {
		return
	}
	if m.LastUpdate == c.log.head() {
		c.confirm &^= 1 << i
		c.activate(f)
	}
}

// HandleQuery answers a primary that asks for our log's end. It must not be
// called while RepOps of this PG are queued and not committed; the OSD asks
// again after them.
func (c *Core) HandleQuery(m *Query, f *Effects) {
	if m.Epoch < c.since {
		return
	}
	f.Send = append(f.Send, PeerMsg{m.From, &Notify{PG: c.id, From: c.me, Since: m.Epoch, LastUpdate: c.log.head()}})
}

// peer gives the position of an osd in the acting set.
func (c *Core) peer(osd int32) (int, bool) {
	for i, o := range c.interval.Acting {
		if o == osd && osd != c.me {
			return i, true
		}
	}
	return 0, false
}

// maxJoined bounds the resends that wait for one write's answer; a client
// looks at the answer to its latest only.
const maxJoined = 16

// Admit decides about a client's request. The Dup counts for Answer only.
func (c *Core) Admit(a Ask) (Verdict, Dup) {
	if !c.Primary() || a.Epoch < c.since {
		return Drop, Dup{}
	}
	if !c.active {
		return Hold, Dup{}
	}
	w := a.Write
	if w == nil {
		return Run, Dup{}
	}
	if first, ok := c.pending[w.ReqID]; ok {
		if len(first.Joined) >= maxJoined {
			return Drop, Dup{}
		}
		first.Joined = append(first.Joined, w)
		return Join, Dup{}
	}
	if e, ok := c.log.find(w.ReqID); ok {
		return Answer, Dup{e.version, e.user, e.result, e.more}
	}
	c.pending[w.ReqID] = w
	return Run, Dup{}
}

// Forget ends an admitted write that will not be submitted: it was answered
// without a change. The requests in w.Joined get the same answer.
func (c *Core) Forget(w *Write) {
	if c.pending[w.ReqID] == w {
		delete(c.pending, w.ReqID)
	}
}

// Alive reports whether an admitted write still may be submitted: no new
// interval began since.
func (c *Core) Alive(w *Write) bool { return !w.forgotten }

// Next is the version that the next Submit gives.
func (c *Core) Next() wire.EVersion {
	return wire.EVersion{Epoch: c.epoch, Version: c.log.head().Version + 1}
}

// Submit takes w.Entry, whose Version is Next and whose Stats are the change
// that the entry brings, into the log, and adds the PG's rows to t. w's
// ReqID is zero for a change of our own (trimming).
func (c *Core) Submit(w *Write, t *store.Txn) {
	if c.submitted != nil || !c.active || w.forgotten {
		panic(fmt.Sprintf("pg %v: Submit in state %s", c.id, c.State()))
	}
	c.before = c.log.stats
	w.Entry.Stats = c.before.Add(w.Entry.Stats)
	w.submitted, w.local = true, false
	w.waiting = 0
	for i, osd := range c.interval.Acting {
		if osd != c.me {
			w.waiting |= 1 << i
		}
	}
	c.trim = 0
	if n := c.log.len(); n >= LogMin+TrimStep && c.trimmable(TrimStep) {
		c.trim = TrimStep
	}
	c.addRows(&w.Entry, c.trim, t)
	c.log.append(&w.Entry)
	c.submitted = w
	c.inflight = append(c.inflight, w)
}

// trimmable says whether the oldest n entries are committed.
func (c *Core) trimmable(n int) bool {
	return !c.committed.Less(c.log.entries[c.log.from+n-1].version)
}

func (c *Core) addRows(e *Entry, trim int, t *store.Txn) {
	if trim > 0 {
		c.log.trimRows(c.id, c.info, trim, t)
	}
	t.MetaSet(c.id, wire.KV{Key: LogRow(e.Version), Value: e.Encode()})
}

func (c *Core) doTrim(n int) {
	if n > 0 {
		c.log.trim(n)
		c.info.LogTail = c.log.tail
	}
}

// Abort takes the last Submit back: the store refused the transaction and
// nothing happened. The write is no longer pending.
func (c *Core) Abort(w *Write) {
	if c.submitted != w {
		panic(fmt.Sprintf("pg %v: Abort of a write that is not the last", c.id))
	}
	c.submitted = nil
	c.log.pop(c.before)
	c.inflight[len(c.inflight)-1] = nil
	c.inflight = c.inflight[:len(c.inflight)-1]
	w.submitted = false
	c.Forget(w)
}

// Queued says that the store took the last Submit's transaction. objects is
// its part that speaks of objects and of the snap index; replicas add their
// own rows.
func (c *Core) Queued(w *Write, objects store.Txn, f *Effects) {
	if c.submitted != w {
		panic(fmt.Sprintf("pg %v: Queued of a write that is not the last", c.id))
	}
	c.submitted = nil
	c.doTrim(c.trim)
	if w.waiting == 0 {
		c.advance(f)
		return
	}
	m := &RepOp{PG: c.id, From: c.me, Epoch: c.since, Entry: w.Entry, Txn: objects, Trim: c.trim}
	for i, osd := range c.interval.Acting {
		if w.waiting&(1<<i) != 0 {
			f.Send = append(f.Send, PeerMsg{osd, m})
		}
	}
}

// Committed says that w's transaction is on stable storage here.
func (c *Core) Committed(w *Write, f *Effects) {
	w.local = true
	c.advance(f)
}

// HandleRepAck takes a replica's word that it has committed a version.
func (c *Core) HandleRepAck(m *RepAck, f *Effects) {
	i, ok := c.peer(m.From)
	if !ok || m.Epoch != c.since {
		return
	}
	for _, w := range c.inflight[c.first:] {
		if w.Entry.Version == m.Version {
			w.waiting &^= 1 << i
			c.advance(f)
			return
		}
	}
}

// advance answers the writes at the front that everybody has.
func (c *Core) advance(f *Effects) {
	for c.first < len(c.inflight) {
		w := c.inflight[c.first]
		if !w.local || w.waiting != 0 || w == c.submitted {
			break
		}
		if c.committed.Less(w.Entry.Version) {
			c.committed = w.Entry.Version
		}
		c.Forget(w)
		f.Answer = append(f.Answer, w)
		c.inflight[c.first] = nil
		c.first++
	}
	if c.first == len(c.inflight) {
		c.inflight, c.first = c.inflight[:0], 0
	} else if c.first > 64 && c.first > len(c.inflight)/2 {
		n := copy(c.inflight, c.inflight[c.first:])
		clear(c.inflight[n:])
		c.inflight, c.first = c.inflight[:n], 0
	}
}

// Forgotten reports whether a new interval took away who waited for w; only
// what joined it since is to be answered.
func (w *Write) Forgotten() bool { return w.forgotten }

// InFlight is the number of writes submitted and not answered.
func (c *Core) InFlight() int { return len(c.inflight) - c.first }
