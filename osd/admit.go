package osd

import "github.com/spirula/spirula/rados/wire"

// anyReplica are the flags of reads that may go to any acting OSD.
const anyReplica = wire.FlagBalanceReads | wire.FlagLocalizeReads

// Bounds of what the daemon keeps for requests that have to wait.
const (
	maxHeldBytes = 64 << 20 // data of requests held by all PGs, and waiting for maps
	heavy        = 64 << 10 // bytes from which on a remote request is worth a goroutine of its own
)

// take brings a request to the PG. True: it is to be begun.
func (g *group) take(o *op) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.backoffs[o.session] != nil:
		g.osd.drop(o) // the client sends it again once it is told to
		return false
	case len(g.held) > 0 || g.ops >= maxOps:
		g.hold(o)
		return false
	}
	return g.admit(o)
}

// admitOwn has a write of the daemon's own take its place. True: it is to be
// executed. The mutex is held.
func (g *group) admitOwn(o *op) bool {
	o.at = g.osd.opts.Now()
	g.enlist(o)
	return g.enter(o)
}

// enlist counts an admitted request; finished takes it out.
func (g *group) enlist(o *op) {
	g.ops++
	o.since = g.core.Since()
	o.before, o.after = g.first.before, &g.first
	o.before.after, o.after.before = o, o
}

// hold parks a request until the PG can admit it. A peer over the network
// holds its requests itself while the PG does not serve, or if we have too
// many; others come again on a new connection.
func (g *group) hold(o *op) {
	d := g.osd
	if o.session.remote && !g.core.Active() {
		g.block(o.session)
		d.drop(o)
		return
	}
	d.Metrics.Held.Add(1)
	if len(g.held) >= maxHeld || !d.hold(o) {
		if o.session.remote {
			g.block(o.session)
			d.drop(o)
		} else {
			d.overrun(o)
		}
		return
	}
	o.keep()
	g.held = append(g.held, o)
}

// pump admits held requests as far as the bound goes. Once none is left,
// peers need not hold theirs any more.
func (g *group) pump() {
	for n := len(g.held); n > 0 && g.ops < maxOps; n-- {
		o := g.held[0]
		g.held[0] = nil
		g.held = g.held[1:]
		g.osd.unhold(o)
		if o.session.gone.Load() {
			g.osd.drop(o)
			continue
		}
		if g.admit(o) {
			g.osd.runner.run(func() { o.next(o) })
		}
	}
	if len(g.held) == 0 {
		g.held = nil
		if g.core.Active() {
			g.release()
		}
	}
}

// finished ends an admitted request's stay: it frees its place.
func (g *group) finished(o *op) {
	g.ops--
	o.before.after, o.after.before = o.after, o.before
	o.before, o.after = nil, nil
	if g.core.Active() && (len(g.held) > 0 || len(g.backoffs) > 0) {
		g.pump()
	}
}

// newInterval ends what belonged to the interval before: backoffs, of which
// the clients do not know that they are over, and watches. The mutex is held.
func (g *group) newInterval() {
	g.release()
	g.dropWatches()
	g.osd.reportSoon()
}

// hold counts the data of a request that waits. False: there is too much.
func (d *OSD) hold(o *op) bool {
	if d.heldBytes.Add(int64(o.input)) > maxHeldBytes && o.input > 0 {
		d.heldBytes.Add(-int64(o.input))
		return false
	}
	return true
}

func (d *OSD) unhold(o *op) { d.heldBytes.Add(-int64(o.input)) }

// overrun drops a request for which there is no room, and its connection with
// it: the client comes again.
func (d *OSD) overrun(o *op) {
	d.Metrics.Overrun.Add(1)
	s := o.session
	d.drop(o)
	d.runner.run(func() { d.hangUp(s) })
}
