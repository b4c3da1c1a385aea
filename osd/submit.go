package osd

import (
	"fmt"
	"slices"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// submit hands an executed write to the PG's submitter, which this goroutine
// becomes if there is none.
func (o *op) submit() {
	g := o.group
	if e, wait := o.overfull(); e != 0 {
		o.giveBack(e, wait)
		return
	}
	g.mu.Lock()
	if o.unchanged() {
		letters := o.effects()
		joined, user := g.giveUp(o)
		g.mu.Unlock()
		o.answerUnchanged(user, joined)
		o.osd.post(letters)
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

// giveBack ends an executed write that is not to happen: it is answered with
// an error, or not at all.
func (o *op) giveBack(e wire.Errno, silent bool) {
	g := o.group
	g.mu.Lock()
	joined, _ := g.giveUp(o)
	g.mu.Unlock()
	for i := range o.out.Results {
		o.out.Results[i].Data.Release()
		o.out.Results[i].Data = wire.Data{}
	}
	if !silent {
		o.fail(e, joined)
		return
	}
	for _, w := range joined {
		o.osd.drop(w.Owner.(*op))
	}
	o.osd.drop(o)
}

// effects is applyEffects for a write; an errno becomes its result. The mutex
// is held.
func (o *op) effects() []letter {
	letters, e := o.applyEffects()
	if e == 0 && len(o.out.Effects.Notifies) > 0 {
		e = o.admitNotifies()
	}
	if e != 0 && o.own == nil {
		o.out.Result = -int32(e)
	}
	return letters
}

// unchanged reports whether the write can be answered without a log entry:
// it did nothing and no earlier write of its object is under way. A failure
// is remembered, so that a resend fails too, unless it lies in the store.
func (o *op) unchanged() bool {
	if o.out.Changed {
		return false
	}
	if o.own != nil || o.out.Result == -int32(wire.EIO) {
		return true
	}
	return o.out.Result >= 0 && o.object.unsettled == 0
}

func (o *op) answerUnchanged(user uint64, joined []*pg.Write) {
	if o.own != nil {
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
	o.startNotifies()
	o.done()
}

// submitTurn is how many writes a submitter takes on before it hands the list
// to the runner: Dispatch must not keep one client's goroutine for the others.
const submitTurn = 16

// drain submits executed writes until there are none. It is called with the
// mutex held, by the one submitter, and returns without it. What a step has
// the OSD send goes out before the next step, so peers see the order.
func (g *group) drain() {
	var f pg.Effects
	for n := 0; len(g.submits) > 0; n++ {
		if n == submitTurn {
			g.mu.Unlock()
			g.osd.runner.run(func() {
				g.mu.Lock()
				g.drain()
			})
			return
		}
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
	defer func() { g.turns++ }()
	if len(o.out.SnapsAdded) > 0 && !g.refresh(o) {
		return
	}
	over := o.own != nil && o.since != g.core.Since() // of an interval that is over; Alive knows of requests only
	if over || !g.core.Alive(&o.Write) || !g.core.Active() || g.core.Lacks(o.head) {
		g.giveUp(o)
		d.Metrics.Dropped.Add(1)
		if o.own != nil {
			o.own(wire.EAGAIN)
		} else {
			g.sendAgain(o.session)
		}
		o.done()
		return
	}
	o.fillEntry()
	n := len(o.out.Txn.Ops)
	var letters []letter
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
		g.finished(o)
	} else {
		b.state = o.out.Object
		letters = o.effects()
		g.core.Queued(&o.Write, objects, f)
		g.leave(b)
		g.settle(f)
	}
	g.mu.Unlock()
	if err != nil {
		o.refused(err, joined)
	}
	g.perform(f)
	d.post(letters)
	g.mu.Lock()
}

// refresh executes a write again that made a clone for a snapshot which was
// removed since the request was checked: trimming may have passed. The mutex
// is held before and after. False: the write was answered.
func (g *group) refresh(o *op) bool {
	cur := g.osd.current.Load()
	pool := cur.Pool(g.id.Pool)
	if pool == nil || !slices.ContainsFunc(o.out.SnapsAdded, cur.RemovedSnapsQueue[g.id.Pool].Contains) {
		return true
	}
	g.mu.Unlock()
	o.out.Release()
	o.req.SnapC = effectiveContext(&o.req, cur, pool, g.id.Pool)
	o.out = objop.Run(g.osd.store, &o.object.state, &o.req, nil)
	g.mu.Lock()
	if !o.unchanged() {
		return true
	}
	joined, user := g.giveUp(o)
	g.mu.Unlock()
	o.answerUnchanged(user, joined)
	g.mu.Lock()
	return false
}

// giveUp ends a write's stay without a log entry: who joined it, and the
// object's user version, are for the answer.
func (g *group) giveUp(o *op) (joined []*pg.Write, user uint64) {
	o.object.writer = false
	g.core.Forget(&o.Write)
	joined, user = o.takeJoined(), o.object.state.Info.UserVersion
	g.leave(o.object)
	g.finished(o)
	return joined, user
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
		if out.UserChange {
			e.UserVersion = out.UserVersion(v.Version)
			out.Finish(v, e.UserVersion, o.ReqID, o.req.MTime)
		} else {
			out.Finish(v, 0, wire.ReqID{}, 0)
		}
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
	if o.own != nil {
		o.refuse(0)
		return
	}
	e := &o.Entry
	for _, w := range o.takeJoined() {
		w.Owner.(*op).answerAs(e)
	}
	if !o.Forgotten() {
		o.osd.Metrics.Writes.Add(1)
		o.osd.Metrics.WriteBytes.Add(int64(o.input))
		o.group.counts.write(o.input)
		o.send(o.reply(e.Result, o.out.Results, e.Version, e.UserVersion))
		o.startNotifies()
	}
	o.done()
}
