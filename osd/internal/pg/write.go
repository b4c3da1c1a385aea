package pg

import (
	"fmt"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

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
	waiting   uint64 // replicas that have not committed, by position
	// sent is what the replicas were sent, bare what those whose backfill
	// has not reached the object were; kept to be sent again.
	sent, bare *RepOp
	bareTo     uint64
}

// Ask is what admission needs to know of a request.
type Ask struct {
	Epoch  wire.Epoch   // of the client's map
	Write  *Write       // nil for a request that only reads
	Object wire.HObject // the head; the zero object for a request on the whole PG
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
	// Wait: the object is to be recovered first, which begins; for a request
	// on the whole PG (the zero object), all that we lack. Ask again when it
	// is in Effects.Freed, or after a new interval began.
	Wait
)

// maxJoined bounds the resends that wait for one write's answer; a client
// looks at the answer to its latest only.
const maxJoined = 16

// Admit decides about a client's request. The Dup counts for Answer only.
func (c *Core) Admit(a Ask, f *Effects) (Verdict, Dup) {
	// Clients send again by themselves only when the primary changes.
	if !c.Primary() || a.Epoch < c.led {
		return Drop, Dup{}
	}
	if !c.Active() {
		return Hold, Dup{}
	}
	if c.lacking > 0 && c.mustWait(a, f) {
		return Wait, Dup{}
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
	if c.submitted != nil || !c.Active() || w.forgotten {
		panic(fmt.Sprintf("pg %v: Submit in state %s", c.id, c.State()))
	}
	if c.Lacks(w.Entry.Object) {
		panic(fmt.Sprintf("pg %v: Submit of %v, which is to be recovered", c.id, w.Entry.Object))
	}
	c.before = c.log.stats
	w.Entry.Stats = c.before.Add(w.Entry.Stats)
	w.submitted, w.local = true, false
	w.waiting = 1<<len(c.replicas) - 1
	c.trim = 0
	if n := c.log.len(); n >= c.logMin+c.trimStep && c.trimmable(c.trimStep) {
		c.trim = c.trimStep
	}
	c.addRows(&w.Entry, c.trim, t)
	c.log.append(&w.Entry)
	c.submitted = w
	c.unsynced++
	c.inflight = append(c.inflight, w)
	if c.target != nil {
		c.noteDirty(w.Entry.Object)
	}
}

// trimmable says whether the oldest n entries are committed.
func (c *Core) trimmable(n int) bool {
	return !c.committed.Less(c.log.entries[c.log.from+n-1].version)
}

func (c *Core) addRows(e *Entry, trim int, t *store.Txn) {
	if trim > 0 {
		c.log.trimRows(c.id, c.history.Created, trim, t)
	}
	t.MetaSet(c.id, wire.KV{Key: LogRow(e.Version), Value: e.Encode()})
}

func (c *Core) doTrim(n int) {
	if n > 0 {
		c.log.trim(n)
	}
}

// Abort takes the last Submit back: the store refused the transaction and
// nothing happened. The write is no longer pending.
func (c *Core) Abort(w *Write) {
	if c.submitted != w {
		panic(fmt.Sprintf("pg %v: Abort of a write that is not the last", c.id))
	}
	c.submitted = nil
	c.unsynced--
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
		c.step(f)
		return
	}
	for i := range c.replicas {
		r := &c.replicas[i]
		if r.beyond(w.Entry.Object) {
			w.bareTo |= 1 << i
			if w.bare == nil {
				w.bare = &RepOp{Head: c.head(), Entry: w.Entry, Trim: c.trim}
			}
		} else if w.sent == nil {
			w.sent = &RepOp{Head: c.head(), Entry: w.Entry, Txn: objects, Trim: c.trim}
		}
		c.sendRepOp(w, i, f)
	}
}

func (c *Core) sendRepOp(w *Write, i int, f *Effects) {
	m := w.sent
	if w.bareTo&(1<<i) != 0 {
		m = w.bare
	}
	if m != nil && w.waiting&(1<<i) != 0 {
		f.Send = append(f.Send, PeerMsg{c.replicas[i].osd, m})
	}
}

// Committed says that w's transaction is on stable storage here.
func (c *Core) Committed(w *Write, f *Effects) {
	w.local = true
	c.unsynced--
	c.advance(f)
	c.step(f)
}

// handleRepAck takes a replica's word that it has committed a version.
func (c *Core) handleRepAck(m *RepAck, f *Effects) {
	i := c.replicaOf(m.From)
	if i < 0 {
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
		w.sent, w.bare = nil, nil
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

// HandleRepOp takes a primary's write into a replica's log. It fills t, the
// transaction to queue; when that is committed the OSD calls
// ReplicaCommitted. False: the message belongs to another interval, or does
// not follow our log; it is dropped, or was taken before.
func (c *Core) HandleRepOp(m *RepOp, t *store.Txn, f *Effects) bool {
	if !c.current(&m.Head) || m.From != c.interval.Primary || c.Primary() || !c.selfActive {
		return false
	}
	head := c.log.head()
	if !head.Less(m.Entry.Version) {
		// It came again. What is on its way to stable storage is
		// acknowledged from there.
		if c.log.has(m.Entry.Version) && (len(c.replica) == 0 || m.Entry.Version.Less(c.replica[0])) {
			c.ackRepOp(m, f)
		}
		return false
	}
	if m.Entry.Version.Version != head.Version+1 {
		return false
	}
	t.Append(&m.Txn)
	trim := 0
	if m.Trim > 0 && m.Trim < c.log.len() && c.trimmable(m.Trim) {
		trim = m.Trim
	}
	c.addRows(&m.Entry, trim, t)
	c.log.append(&m.Entry)
	c.doTrim(trim)
	c.replica = append(c.replica, m.Entry.Version)
	return true
}

// ReplicaCommitted acknowledges a RepOp that is on stable storage here.
func (c *Core) ReplicaCommitted(m *RepOp, f *Effects) {
	if len(c.replica) > 0 && c.replica[0] == m.Entry.Version {
		c.replica = c.replica[1:]
	}
	if c.committed.Less(m.Entry.Version) {
		c.committed = m.Entry.Version
	}
	c.ackRepOp(m, f)
	c.step(f)
}

func (c *Core) ackRepOp(m *RepOp, f *Effects) {
	f.Send = append(f.Send, PeerMsg{m.From, &RepAck{
		Head: Head{PG: c.id, From: c.me, Epoch: m.Epoch, At: m.At}, Version: m.Entry.Version}})
}
