package pg

import (
	"fmt"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Interval is what a map says of a PG. Two maps with equal Intervals belong
// to the same interval.
type Interval struct {
	Up, Acting []int32
	Primary    int32 // of the acting set; -1 if there is none
	MinSize    int
	Size       int
	PGNum      uint32
	Exists     bool // the pool does
	Temp       bool // the map has a pg_temp for the PG; no part of what makes intervals differ
}

// View is what the PG asks the newest map about OSDs.
type View interface {
	IsUp(osd int32) bool
	UpFrom(osd int32) wire.Epoch // 0: it never was up
	UpThru(osd int32) wire.Epoch
	LostAt(osd int32) wire.Epoch // 0: its data was not given up
	MaxOSD() int32
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

// same reports whether two maps agree, but for the PG's objects (samePart).
func (i *Interval) same(j *Interval) bool {
	return i.Primary == j.Primary && i.MinSize == j.MinSize && i.Size == j.Size &&
		i.Exists == j.Exists && equalOSDs(i.Acting, j.Acting) && equalOSDs(i.Up, j.Up)
}

// writeable reports whether the interval has enough OSDs to serve.
func (i *Interval) writeable() bool { return i.Exists && i.Primary >= 0 && len(i.Acting) >= i.MinSize }

// PeerMsg is a message to another OSD.
type PeerMsg struct {
	OSD int32
	Msg wire.Message
}

// WorkKind is what Work is to do.
type WorkKind uint8

// The kinds of work.
const (
	// WorkPush: read an object and send it to OSD, as Push.
	WorkPush WorkKind = iota
	// WorkErase: remove an object here, and call Recovered.
	WorkErase
	// WorkScan: list the heads of our own after First, and call HaveScanned.
	WorkScan
	// WorkScanPeer: answer a Scan: list the heads after First up to End.
	WorkScanPeer
)

// Work is what takes reading of objects. It is done off the PG's mutex.
type Work struct {
	Kind       WorkKind
	OSD        int32
	Epoch      wire.Epoch // of the interval; the work of another one is dropped
	Object     wire.HObject
	Need       wire.EVersion // WorkPush for a Pull
	Pull       bool
	Knows      bool // for Push.Knows
	First, End wire.HObject
}

// Effects is what the OSD is to carry out. Its owner empties it with Reset
// and uses it again.
type Effects struct {
	Send   []PeerMsg
	Answer []*Write // committed everywhere, in the order of their versions
	Forgot []*Write // a new interval began: no answer, the client resends
	Resume bool     // requests that were held may be asked again
	// Txn is to be queued, if it has steps, in the order in which the
	// effects came; Persisted is called when it is durable.
	Txn        store.Txn
	persisting bool // Txn has its place among what is to become durable
	// Self are messages to ourselves: to be handled like those of others,
	// after them.
	Self []Message
	Work []Work
	// Freed are objects that requests may wait for (verdict Wait): ask again.
	Freed []wire.HObject
	// UpThru, if not 0: the mon is to be asked for it (MOSDAlive).
	UpThru wire.Epoch
	// AskTemp: the mon is to be asked to let Temp serve; empty: who is up.
	AskTemp bool
	Temp    []int32
	// NewInterval: what is known of objects may be wrong.
	NewInterval bool
	// Retire: the copy is to be removed.
	Retire bool
	// Clean: the PG has become clean.
	Clean bool
	// Split: everything is on stable storage here, and the rows can be
	// divided (Core.Split).
	Split bool
}

// Reset empties f and keeps its memory.
func (f *Effects) Reset() {
	clear(f.Send)
	clear(f.Answer)
	clear(f.Forgot)
	clear(f.Self)
	clear(f.Work)
	clear(f.Freed)
	*f = Effects{Send: f.Send[:0], Answer: f.Answer[:0], Forgot: f.Forgot[:0], Self: f.Self[:0], Work: f.Work[:0],
		Freed: f.Freed[:0]}
}

// Core is the state machine of one PG on one OSD.
type Core struct {
	id      wire.SPGID
	me      int32
	log     log
	missing missingSet
	standing

	view    View
	phase   phase
	retired bool
	ahead   bool // no map yet, and the rows know a newer one than the first
	// splitting: the rows are to be divided before the interval begins.
	splitting bool

	pending   map[wire.ReqID]*Write // admitted writes without an answer
	inflight  []*Write              // submitted, in version order; the part before first is done
	first     int
	submitted *Write // between Submit and Queued or Abort
	unsynced  int    // submitted writes that are not on stable storage here
	trim      int    // log entries that the submitted transaction trims
	before    Stats  // as of before the last Submit
	committed wire.EVersion
	logMin    int // LogMin and TrimStep; less in tests
	trimStep  int

	replica []wire.EVersion // RepOps queued here as a replica and not committed
	durable []durable       // what follows when transactions of Effects are
	asked   []Message       // of other OSDs, until all here is on stable storage

	peering
	recovery
}

// durable is what follows a transaction of Effects.
type durable struct {
	send      []PeerMsg
	activated bool           // the primary's own activation
	got       []wire.HObject // objects that are no longer missing here
	since     wire.Epoch
}

// New makes a PG at the epoch of the map that made it, in which it is known
// to be empty; epoch 0: what it had before is not known here.
func New(id wire.SPGID, me int32, created wire.Epoch) *Core {
	c := &Core{id: id, me: me, log: newLog(), missing: missingSet{}, pending: map[wire.ReqID]*Write{},
		logMin: LogMin, trimStep: TrimStep}
	c.interval = Interval{Primary: -1}
	c.history = History{Created: created, PastFrom: created}
	c.backfilled = wire.MaxHObject
	return c
}

// Load reads a PG from its rows. ENODATA or ENOENT: this OSD has no such PG.
func Load(rows Rows, id wire.SPGID, me int32) (*Core, error) {
	raw, err := rows.MetaGet(id, RowInfo)
	if err != nil {
		return nil, wire.Wrap("load pg", id.String(), err)
	}
	c := New(id, me, 0)
	created, tail, err := decodeInfo(raw)
	if err == nil {
		c.history = History{Created: created, PastFrom: created}
		err = c.log.load(rows, id, tail)
	}
	if err == nil {
		err = c.missing.load(rows, id)
	}
	if err == nil {
		err = c.loadStanding(rows)
	}
	if err != nil {
		return nil, wire.Wrap("load pg", id.String(), &wire.Error{Op: "read rows", Kind: wire.EIO, Cause: err})
	}
	c.committed = c.log.head()
	return c, nil
}

// loadStanding reads the row RowHistory. A PG made before there was one has
// not had any other OSD.
func (c *Core) loadStanding(rows Rows) error {
	raw, err := rows.MetaGet(c.id, RowHistory)
	if e := wire.ErrnoOf(err); err != nil && (e == wire.ENOENT || e == wire.ENODATA) {
		return nil
	}
	if err != nil {
		return err
	}
	s, err := decodeStanding(raw)
	if err != nil {
		return err
	}
	c.standing = s
	return nil
}

// Rows adds the rows of a PG that New made to t.
func (c *Core) Rows(t *store.Txn) {
	c.putInfo(t)
	c.putStanding(t)
}

func (c *Core) putInfo(t *store.Txn) {
	t.MetaSet(c.id, wire.KV{Key: RowInfo, Value: encodeInfo(c.history.Created, c.log.tail)})
}

func (c *Core) putStanding(t *store.Txn) {
	t.MetaSet(c.id, wire.KV{Key: RowHistory, Value: c.standing.encode()})
}

// persist hands a transaction to the OSD; then says what follows when it is
// durable.
func (c *Core) persist(f *Effects, then durable) {
	if len(f.Txn.Ops) == 0 {
		panic("pg: nothing to persist")
	}
	then.since = c.since
	if f.persisting {
		last := &c.durable[len(c.durable)-1]
		last.send = append(last.send, then.send...)
		last.got = append(last.got, then.got...)
		last.activated = last.activated || then.activated
		last.since = then.since
		return
	}
	f.persisting = true
	c.durable = append(c.durable, then)
}

// Persisted says that the oldest transaction of Effects that was not durable
// is so now.
func (c *Core) Persisted(f *Effects) {
	d := c.durable[0]
	c.durable = c.durable[1:]
	if len(c.durable) == 0 {
		c.durable = nil
	}
	f.Send = append(f.Send, d.send...)
	for _, o := range d.got {
		c.gotObject(o, d.since == c.since, f)
	}
	if d.activated && d.since == c.since {
		c.selfActive = true
		c.checkActive(f)
	}
	c.step(f)
}

// stable reports whether all that this copy says of itself is on stable
// storage, and said of this PG alone.
func (c *Core) stable() bool { return c.settled() && !c.Splitting() }

// settled reports whether nothing is on its way to stable storage.
func (c *Core) settled() bool {
	return c.submitted == nil && c.unsynced == 0 && len(c.replica) == 0 && len(c.durable) == 0
}

// Info is what this OSD has of the PG.
func (c *Core) Info() Info {
	head := c.log.head()
	return Info{History: c.history, Held: c.history.Created != 0 && !c.retired, LogTail: c.log.tail, LastUpdate: head,
		LastStarted: c.lastStarted, Backfilled: c.backfilled, Missing: len(c.missing)}
}

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
func (c *Core) Active() bool { return c.phase == phaseActive && c.interval.writeable() }

// Primary reports whether this OSD is the acting primary.
func (c *Core) Primary() bool { return c.interval.Exists && c.interval.Primary == c.me && !c.retired }

// Retiring adds to t what makes the copy worth nothing, before its objects go.
func (c *Core) Retiring(t *store.Txn) {
	if !c.retired {
		panic(fmt.Sprintf("pg %v: Retiring in state %s", c.id, c.State()))
	}
	c.reset(wire.EVersion{}, t)
	c.putInfo(t)
	c.putStanding(t)
}

// Gone reports whether the newest map no longer has the pool.
func (c *Core) Gone() bool { return c.phase != phaseNone && !c.interval.Exists }

// Retired reports whether the copy is to be removed.
func (c *Core) Retired() bool { return c.retired }

// MapAdvance brings a newer map. A new interval ends what was under way.
func (c *Core) MapAdvance(epoch wire.Epoch, to Interval, v View, f *Effects) {
	if epoch < c.epoch {
		if c.phase == phaseNone {
			c.ahead = true
			return // the rows were written by a map that is yet to come again
		}
		panic(fmt.Sprintf("pg %v: map %d after %d", c.id, epoch, c.epoch))
	}
	if (c.phase != phaseNone || c.ahead) && epoch > c.epoch+1 {
		c.skippedMaps(epoch)
	}
	c.epoch, c.view, c.ahead = epoch, v, false
	if c.since != 0 && c.sameInterval(&to) && c.phase != phaseNone {
		c.interval.Temp = to.Temp
		c.sawUpThru(v, f)
		c.mapChanged(f)
		return
	}
	// After a restart the interval may be the same as before it, but what
	// was under way then is gone.
	if c.since == 0 || !c.sameInterval(&to) {
		// Where the interval began is not known after a gap: it counts.
		skipped := c.interval.Primary == skipped
		c.endInterval(epoch)
		if c.interval.Primary != to.Primary || !c.samePart(to.PGNum) || c.led == 0 {
			c.led = epoch
		}
		c.since, c.interval, c.upThru = epoch, to, skipped
	}
	c.noteUpThru(v)
	c.noteSplit()
	c.phase = phaseSettling
	c.forget(f)
	c.resetPeering()
	c.resetRecovery(f)
	f.NewInterval = true
	if !c.retired {
		c.putStanding(&f.Txn)
		c.persist(f, durable{})
	}
	c.step(f)
}

// skippedMaps notes that maps before epoch were not seen: nobody knows from
// here what intervals there were.
func (c *Core) skippedMaps(epoch wire.Epoch) {
	c.history.PastFrom = epoch
	c.history.Past = nil
	c.interval = Interval{Primary: skipped}
}

// skipped is the primary of an interval that is equal to none.
const skipped = -2

// endInterval adds the interval that the map before epoch was the last of to
// the past, if writes may have been answered in it.
func (c *Core) endInterval(epoch wire.Epoch) {
	if c.since == 0 || !c.interval.Exists || c.interval.Primary < 0 {
		return
	}
	if c.interval.writeable() && c.upThru {
		c.history.addPast(Past{First: c.since, Last: epoch - 1, Acting: c.interval.Acting})
	}
}

// noteUpThru notes whether the interval's primary may have served: it asks
// the mon first, unless nobody else ever has the PG's data.
func (c *Core) noteUpThru(v View) bool {
	if !c.upThru && (c.interval.Size == 1 || c.interval.Primary >= 0 && v.UpThru(c.interval.Primary) >= c.since) {
		c.upThru = true
		return true
	}
	return false
}

func (c *Core) sawUpThru(v View, f *Effects) {
	if c.noteUpThru(v) && !c.retired {
		c.putStanding(&f.Txn)
		c.persist(f, durable{})
	}
}

// Head begins a message of the current interval.
func (c *Core) Head() Head { return c.head() }

func (c *Core) head() Head { return Head{PG: c.id, From: c.me, Epoch: c.since, At: c.epoch} }

// current reports whether a message belongs to the current interval.
func (c *Core) current(h *Head) bool {
	if h.PG != c.id || h.At < c.since || c.retired {
		return false
	}
	if h.Epoch == c.since {
		return true
	}
	// The same interval, of which one of us has skipped maps: the primary's
	// word counts.
	if h.From == c.interval.Primary && c.interval.Primary != c.me {
		c.since = h.Epoch
		return true
	}
	return false
}

// Tick repeats what may have been lost.
func (c *Core) Tick(f *Effects) {
	if c.retired || c.view == nil {
		return
	}
	c.tickPeering(f)
	c.tickRecovery(f)
}

// forget drops who waits for the writes under way. What was submitted stays
// in the log, and commits here.
func (c *Core) forget(f *Effects) {
	for _, w := range c.inflight[c.first:] {
		w.forgotten, w.waiting, w.sent, w.bare, w.bareTo = true, 0, nil, nil, 0
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
	c.advance(f)
}

// HasTxn reports whether there is a transaction to be queued.
func (f *Effects) HasTxn() bool { return len(f.Txn.Ops) > 0 }

// TakeTxn gives the transaction that is to be queued, and forgets it. False:
// there is none.
func (f *Effects) TakeTxn() (*store.Txn, bool) {
	if len(f.Txn.Ops) == 0 {
		return nil, false
	}
	t := &store.Txn{Ops: f.Txn.Ops}
	f.Txn, f.persisting = store.Txn{}, false
	return t, true
}
