package osd

import (
	"fmt"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// op is a request from its arrival to its answer. Its goroutine changes from
// arrival to execution to submission to answer; each handover happens under
// the PG's mutex.
type op struct {
	pg.Write

	osd   *OSD
	group *group
	conn  msgr.Conn
	m     *wire.MOSDOp
	write bool
	head  wire.HObject
	since wire.Epoch // interval of admission

	req    objop.Request
	object *object
	out    *objop.Outcome
	kept   bool // the message's Data are retained
	joined bool

	trim     wire.SnapID     // a trim of our own; conn and m are nil
	trimDone chan wire.Errno // has room for the one result

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
	b := o.object
	if !b.loaded {
		if !o.load() {
			return
		}
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

// load fills the object's context. False: the request was answered, or waits
// for the lock it needs.
func (o *op) load() bool {
	g, b := o.group, o.object
	state, err := objop.Load(o.osd.store, o.head, g.id.Shard)
	g.mu.Lock()
	if err != nil {
		b.writer = false
		g.core.Forget(&o.Write)
		joined := o.takeJoined()
		g.leave(b)
		g.finished()
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

// finishRead gives the lock back and answers, unless the PG moved on.
func (o *op) finishRead() {
	g, b := o.group, o.object
	g.mu.Lock()
	b.readers--
	stale := g.core.Since() != o.since || !g.core.Active()
	user := o.out.Object.Info.UserVersion
	if !o.out.Object.Stored {
		user = g.core.LastUpdate().Version
	}
	g.leave(b)
	g.finished()
	g.mu.Unlock()
	reply := o.reply(o.out.Result, o.out.Results, wire.EVersion{}, user)
	if stale {
		reply.Release()
		o.osd.Metrics.Dropped.Add(1)
	} else {
		o.osd.Metrics.Reads.Add(1)
		for i := range reply.Results {
			o.osd.Metrics.ReadBytes.Add(int64(reply.Results[i].Data.Len()))
		}
		o.send(reply)
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
		Epoch: o.osd.epoch(), Attempt: o.m.Attempt, Results: results, Version: v, UserVersion: user}
}

func (o *op) send(r *wire.MOSDOpReply) {
	if r.Result < 0 {
		o.osd.Metrics.Errors.Add(1)
	}
	if err := o.conn.Send(r); err != nil {
		r.Release()
	}
}

// refuse answers with an error and ends the request.
func (o *op) refuse(e wire.Errno) {
	if o.trim != 0 {
		o.trimDone <- e
	} else {
		o.send(o.reply(-int32(e), nil, wire.EVersion{}, 0))
	}
	o.done()
}

// submit hands an executed write to the PG's submitter, which this goroutine
// becomes if there is none.
func (o *op) submit() {
	g := o.group
	g.mu.Lock()
	if o.unchanged() {
		b := o.object
		b.writer = false
		g.core.Forget(&o.Write)
		joined := o.takeJoined()
		user := b.state.Info.UserVersion
		g.leave(b)
		g.finished()
		g.mu.Unlock()
		o.answerUnchanged(user, joined)
		return
	}
	o.keep()
	g.submits = append(g.submits, o)
	if g.submitting {
		g.mu.Unlock()
		return
	}
	g.submitting = true
	g.drain()
}

// unchanged reports whether the write can be answered without a log entry:
// it did nothing and no earlier write of its object is under way. A failure
// is remembered, so that a resend fails too, unless it lies in the store.
func (o *op) unchanged() bool {
	if o.out.Changed {
		return false
	}
	if o.trim != 0 || o.out.Result == -int32(wire.EIO) {
		return true
	}
	return o.out.Result >= 0 && o.object.unsettled == 0
}

func (o *op) answerUnchanged(user uint64, joined []*pg.Write) {
	if o.trim != 0 {
		o.refuse(0)
		return
	}
	v := wire.EVersion{}
	for _, w := range joined {
		j := w.Owner.(*op)
		j.send(j.reply(o.out.Result, nil, v, user))
		j.done()
	}
	o.send(o.reply(o.out.Result, o.out.Results, v, user))
	o.done()
}

// drain submits executed writes until there are none. It is called with the
// mutex held, by the one submitter, and returns without it. What a step has
// the OSD send goes out before the next step, so peers see the order.
func (g *group) drain() {
	var f pg.Effects
	for len(g.submits) > 0 {
		o := g.submits[0]
		g.submits[0] = nil
		g.submits = g.submits[1:]
		g.submitOne(o, &f)
	}
	g.submits = nil
	g.submitting = false
	g.mu.Unlock()
}

// submitOne takes one write through Submit and Queue. The mutex is held
// before and after, not during.
func (g *group) submitOne(o *op, f *pg.Effects) {
	b, d := o.object, g.osd
	if !g.core.Alive(&o.Write) || !g.core.Active() {
		b.writer = false
		g.core.Forget(&o.Write)
		g.leave(b)
		g.finished()
		d.Metrics.Dropped.Add(1)
		if o.trim != 0 {
			o.trimDone <- wire.EAGAIN
		}
		o.done()
		return
	}
	o.fillEntry()
	n := len(o.out.Txn.Ops)
	g.core.Submit(&o.Write, &o.out.Txn)
	objects := store.Txn{Ops: o.out.Txn.Ops[:n:n]}
	b.unsettled++
	g.mu.Unlock()

	d.txns.Add(1)
	err := d.store.Queue(g.seq, &o.out.Txn, o.committed)

	g.mu.Lock()
	b.writer = false
	var joined []*pg.Write
	if err != nil {
		d.txns.Done()
		b.unsettled--
		g.core.Abort(&o.Write)
		joined = o.takeJoined()
		g.leave(b)
		g.finished()
	} else {
		b.state = o.out.Object
		g.core.Queued(&o.Write, objects, f)
		g.leave(b)
		g.settle(f)
	}
	g.mu.Unlock()
	if err != nil {
		o.refused(err, joined)
	}
	g.perform(f)
	g.mu.Lock()
}

// refused answers a write that the store did not take.
func (o *op) refused(err error, joined []*pg.Write) {
	e := wire.ErrnoOf(err)
	if e != wire.ENOSPC && !o.osd.closing.Load() {
		o.osd.log.Error("store refused a write", "pg", o.group.id, "object", o.head, "err", err)
	}
	o.fail(e, joined)
}

// fillEntry gives the write its version and its rows of the snap index.
func (o *op) fillEntry() {
	v := o.group.core.Next()
	was, out := &o.object.state, o.out
	e := &o.Entry
	*e = pg.Entry{Kind: pg.KindResult, Object: o.head, Version: v, ReqID: o.ReqID, Result: out.Result,
		Prior: was.Info.Version, UserVersion: was.Info.UserVersion, MTime: o.req.MTime}
	e.Rvals = rvals(out.Results)
	if !out.Changed {
		return
	}
	live := func(l bool) int64 {
		if l {
			return 1
		}
		return 0
	}
	e.Stats = pg.Stats{Objects: live(out.Object.Live()) - live(was.Live()), Clones: out.Clones, Bytes: out.Bytes}
	switch {
	case o.trim != 0:
		e.Kind = pg.KindTrim
		out.Finish(v, 0, wire.ReqID{}, 0)
	default:
		e.Kind = pg.KindModify
		if !out.Object.Live() {
			e.Kind = pg.KindDelete
		}
		e.UserVersion = v.Version
		out.Finish(v, v.Version, o.ReqID, o.req.MTime)
		if o.req.Flags&wire.FlagReturnVec != 0 {
			e.Replies = remembered(out.Results)
		}
	}
	for _, s := range out.SnapsAdded {
		out.Txn.MetaSet(o.group.id, wire.KV{Key: pg.SnapRow(s, o.head), Value: pg.SnapRowValue(o.head)})
	}
	for _, s := range out.SnapsGone {
		out.Txn.MetaRm(o.group.id, pg.SnapRow(s, o.head))
	}
}

// rvals gives the operations' values, nil when all are 0.
func rvals(results []wire.OpResult) []int32 {
	for i := range results {
		if results[i].Rval != 0 {
			out := make([]int32, len(results))
			for j := range results {
				out[j] = results[j].Rval
			}
			return out
		}
	}
	return nil
}

// committed is the store's word that the write is durable.
func (o *op) committed(err error) {
	g, d := o.group, o.osd
	defer d.txns.Done()
	if err != nil {
		d.fatal(wire.Wrap("commit", fmt.Sprintf("pg %v %v", g.id, o.Entry.Version), err))
		return
	}
	var f pg.Effects
	g.mu.Lock()
	g.core.Committed(&o.Write, &f)
	g.settle(&f)
	g.mu.Unlock()
	g.perform(&f)
}

// answer sends a committed write's result to who waits for it.
func (o *op) answer() {
	if o.trim != 0 {
		o.refuse(0)
		return
	}
	e := &o.Entry
	for _, w := range o.takeJoined() {
		w.Owner.(*op).answerAs(e)
	}
	if !o.Forgotten() {
		o.osd.Metrics.Writes.Add(1)
		for i := range o.m.Ops {
			o.osd.Metrics.WriteBytes.Add(int64(o.m.Ops[i].Data.Len()))
		}
		o.send(o.reply(e.Result, o.out.Results, e.Version, e.UserVersion))
	}
	o.done()
}

// answerDup answers a resend with the result of the first time.
func (o *op) answerDup(d pg.Dup) {
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
