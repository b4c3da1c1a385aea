package osd

import (
	"time"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/rados/wire"
)

// op is a request from its arrival to its answer. Its goroutine changes from
// arrival to execution to submission to answer; each handover happens under
// the PG's mutex.
type op struct {
	pg.Write

	osd     *OSD
	group   *group
	session *session
	m       *wire.MOSDOp
	write   bool
	head    wire.HObject
	since   wire.Epoch // interval of admission
	at      time.Time  // of arrival
	input   int        // bytes of data that came with it
	work    int        // bytes that it reads or writes, as far as it says

	next   func(*op) // what follows admission
	dup    pg.Dup    // for answerDup
	req    objop.Request
	object *object
	out    *objop.Outcome
	kept   bool // the message's Data are retained
	joined bool

	notifyIDs []uint64 // of the notifies that follow the answer

	// own is set in a write of the daemon's own, which has no session and
	// no message: it is told how the write ended.
	own  func(wire.Errno)
	trim wire.SnapID // a snapshot to be trimmed, in a write of our own

	before, after *op // in the PG's list of admitted requests

	inline [2]wire.OpResult
}

// keep takes references to the message's Data for the time after Dispatch.
func (o *op) keep() {
	if o.kept || o.m == nil {
		return
	}
	o.kept = true
	for i := range o.m.Ops {
		o.m.Ops[i].Data.Retain()
	}
}

// done ends the request: nothing of it is used any more.
func (o *op) done() {
	if o.out != nil {
		o.out.Release()
	}
	for _, c := range o.req.Copies {
		if c != nil {
			c.Data.Release()
		}
	}
	o.req.Copies = nil
	if o.kept {
		o.kept = false
		for i := range o.m.Ops {
			o.m.Ops[i].Data.Release()
		}
	}
}

// pgOp reports whether the request is on the PG rather than on an object.
func (o *op) pgOp() bool { return o.m != nil && o.m.Object == "" && !o.write }

// execute runs a request that has its object's lock.
func (o *op) execute() {
	if o.pgOp() {
		o.listPG()
		return
	}
	if o.session != nil && o.session.gone.Load() && o.abandon() {
		return
	}
	b := o.object
	if !b.loaded {
		if !o.load() {
			return
		}
	}
	if len(b.state.Info.Watches) > 0 {
		o.group.mu.Lock()
		letters := o.group.syncWatches(b, nil)
		o.group.mu.Unlock()
		o.osd.post(letters)
	}
	if o.copies() {
		o.fetch()
		return
	}
	if o.trim != 0 {
		o.out = objop.Trim(&b.state, o.trim)
	} else {
		o.out = objop.Run(o.osd.store, &b.state, &o.req, o.inline[:0])
	}
	if o.write {
		o.submit()
		return
	}
	o.finishRead()
}

// abandon ends a request that has its object's lock and whose client is gone.
// False: a resend waits for its answer.
func (o *op) abandon() bool {
	g, b := o.group, o.object
	g.mu.Lock()
	if len(o.Joined) > 0 {
		g.mu.Unlock()
		return false
	}
	if b.writer {
		b.writer = false
		if o.write {
			g.core.Forget(&o.Write)
		}
	} else {
		b.readers--
	}
	g.leave(b)
	g.finished(o)
	g.mu.Unlock()
	o.osd.drop(o)
	return true
}

// load fills the object's context. False: the request was answered, or waits
// for the lock it needs.
func (o *op) load() bool {
	g, b := o.group, o.object
	state, err := objop.Load(o.osd.store, o.head, g.id.Shard)
	g.mu.Lock()
	if err != nil {
		joined, _ := g.giveUp(o)
		g.mu.Unlock()
		o.osd.log.Error("object can't be read", "pg", g.id, "object", o.head, "err", err)
		o.fail(wire.EIO, joined)
		return false
	}
	b.state, b.loaded = state, true
	if !o.write {
		b.writer = false
		b.readers++
		g.leave(b)
	}
	g.mu.Unlock()
	return true
}

// takeJoined gives the requests that share this one's answer.
func (o *op) takeJoined() []*pg.Write {
	j := o.Joined
	o.Joined = nil
	return j
}

// fail answers with an error, without a log entry.
func (o *op) fail(e wire.Errno, joined []*pg.Write) {
	o.refuse(e)
	for _, w := range joined {
		w.Owner.(*op).refuse(e)
	}
}

// finishRead answers, unless the PG moved on, and gives the lock back: who
// comes next at the object is answered later.
func (o *op) finishRead() {
	g, b, d := o.group, o.object, o.osd
	result, results := o.out.Result, o.out.Results
	user := o.out.Object.Info.UserVersion
	g.mu.Lock()
	stale := g.core.Since() != o.since || !g.core.Active()
	var letters []letter
	if !stale && result >= 0 && (len(o.out.Effects.Watches)+len(o.out.Effects.Acks)+len(o.out.Effects.Notifies) > 0) {
		var e wire.Errno
		if letters, e = o.applyEffects(); e == 0 {
			e = o.admitNotifies()
		}
		if e != 0 {
			result = -int32(e)
		}
	}
	if result == -int32(wire.ENOENT) && (o.req.Snap != wire.NoSnap || !b.state.Live()) {
		// Ceph refuses such before the first operation.
		user, results = 0, results[:0]
	}
	if stale {
		g.sendAgain(o.session)
	}
	g.mu.Unlock()
	reply := o.reply(result, results, wire.EVersion{}, user)
	if stale {
		reply.Release()
		d.Metrics.Dropped.Add(1)
	} else {
		d.Metrics.Reads.Add(1)
		n := 0
		for i := range reply.Results {
			n += reply.Results[i].Data.Len()
		}
		d.Metrics.ReadBytes.Add(int64(n))
		g.counts.read(n)
		o.send(reply)
	}
	g.mu.Lock()
	b.readers--
	g.leave(b)
	g.finished(o)
	g.mu.Unlock()
	if !stale {
		d.post(letters)
		o.startNotifies()
	}
	o.done()
}

// reply builds the answer. results go over to it.
func (o *op) reply(result int32, results []wire.OpResult, v wire.EVersion, user uint64) *wire.MOSDOpReply {
	flags := o.m.Flags&^7 | wire.FlagOnDisk
	if !o.write {
		flags |= wire.FlagAck
	}
	if len(results) != len(o.m.Ops) {
		results = append(results, make([]wire.OpResult, len(o.m.Ops)-len(results))...)
	}
	return &wire.MOSDOpReply{TID: o.m.TID, Object: o.m.Object, PG: o.m.PG.PGID, Flags: flags, Result: result,
		Epoch: o.osd.epoch(), Attempt: o.m.Attempt, Results: results, Version: v, UserVersion: user, Records: o.m.Records}
}

func (o *op) send(r *wire.MOSDOpReply) {
	if r.Result < 0 {
		o.osd.Metrics.Errors.Add(1)
	}
	if err := o.session.conn.Send(r); err != nil {
		r.Release()
	}
}

// refuse answers with an error and ends the request.
func (o *op) refuse(e wire.Errno) {
	if o.own != nil {
		o.own(e)
	} else {
		o.send(o.reply(-int32(e), nil, wire.EVersion{}, 0))
	}
	o.done()
}

// again tells a client whose read may go to any replica to ask the primary.
func (o *op) again() { o.refuse(wire.EAGAIN) }

// answerDup answers a resend with the result of the first time.
func (o *op) answerDup() {
	d := o.dup
	e := pg.Entry{Version: d.Version, UserVersion: d.UserVersion, Result: d.Result}
	if d.InRow {
		row, err := o.osd.store.MetaGet(o.group.id, pg.LogRow(d.Version))
		if err == nil {
			e, err = pg.DecodeEntry(row)
		}
		if err != nil { // trimmed meanwhile, or damaged: the result is known still
			o.osd.log.Warn("results of a request lost", "pg", o.group.id, "version", d.Version, "err", err)
			e = pg.Entry{Version: d.Version, UserVersion: d.UserVersion, Result: d.Result}
		}
	}
	o.answerAs(&e)
}

// answerAs answers with what a log entry says.
func (o *op) answerAs(e *pg.Entry) {
	results := cloneResults(e.Replies)
	if results == nil {
		results = make([]wire.OpResult, len(o.m.Ops))
	}
	for i, v := range e.Rvals[:min(len(e.Rvals), len(results))] {
		results[i].Rval = v
	}
	o.send(o.reply(e.Result, results, e.Version, e.UserVersion))
	o.done()
}

// remembered gives results for the log, whose Data hold small copies.
func remembered(r []wire.OpResult) []wire.OpResult {
	out := append([]wire.OpResult(nil), r...)
	for i := range out {
		out[i].Data = wire.DataOf(append([]byte(nil), out[i].Data.Bytes()...))
	}
	return out
}

// cloneResults gives results with references of their own.
func cloneResults(r []wire.OpResult) []wire.OpResult {
	out := append([]wire.OpResult(nil), r...)
	for i := range out {
		out[i].Data.Retain()
	}
	return out
}
