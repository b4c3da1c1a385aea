package pg

import (
	"fmt"
	"slices"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/wire"
)

// simNode is one OSD.
type simNode struct {
	w        *world
	id       int32
	running  bool
	boot     wire.Epoch // the epoch in which this incarnation is up; 0: not yet
	mem, dsk *storetest.Model
	core     *Core
	epoch    wire.Epoch // maps it has
	commits  []simCommit
	submit   *simWrite // between Submit and Queued
	incarn   int
	works    []Work
	self     []Message
	later    []Message // of a newer map
	waiting  []*simWrite
}

type simCommit struct {
	t    *store.Txn
	done func(f *Effects)
}

func (n *simNode) start() {
	n.running, n.boot, n.core, n.submit, n.commits, n.works, n.self, n.later = true, 0, nil, nil, nil, nil, nil, nil
	n.waiting = nil
	n.incarn++
	n.mem = n.dsk.Clone()
	if core, err := Load(n.mem, testPG, n.id); err == nil {
		n.core = core
		n.short()
		if n.epoch > 0 {
			n.advance(n.w.maps[n.epoch])
		}
	}
}

func (n *simNode) crash() {
	n.running = false
	for k := range n.w.links {
		if k[0] == n.id || k[1] == n.id {
			delete(n.w.links, k)
		}
	}
	// What was queued may be on disk already, as far as it was in order.
	for range n.w.rng.IntN(len(n.commits) + 1) {
		n.apply(n.dsk, n.commits[0].t)
		n.commits = n.commits[1:]
	}
	for _, p := range n.w.nodes {
		if p.running && p.core != nil {
			p.with(func(f *Effects) { p.core.PeerReset(n.id, f) })
		}
	}
}

func (n *simNode) apply(m *storetest.Model, t *store.Txn) {
	if err := m.Queue(nil, t, nil); err != nil {
		n.w.fatalf("osd.%d: %v", n.id, err)
	}
}

func (n *simNode) queue(t *store.Txn, done func(f *Effects)) {
	n.apply(n.mem, t)
	n.commits = append(n.commits, simCommit{t, done})
}

// serving reports whether the map has this incarnation as up.
func (n *simNode) serving() bool {
	return n.running && n.boot != 0 && n.epoch >= n.boot && n.w.maps[n.epoch].up[n.id]
}

func (n *simNode) with(fn func(f *Effects)) {
	var f Effects
	fn(&f)
	n.perform(&f)
}

func (n *simNode) perform(f *Effects) {
	if t, ok := f.TakeTxn(); ok {
		core := n.core
		n.queue(t, func(f *Effects) {
			if n.core == core {
				core.Persisted(f)
			}
		})
	}
	for _, p := range f.Send {
		if n.serving() {
			k := [2]int32{n.id, p.OSD}
			n.w.links[k] = append(n.w.links[k], p.Msg.(Message))
		}
	}
	n.self = append(n.self, f.Self...)
	n.works = append(n.works, f.Work...)
	for _, wr := range f.Answer {
		wr.Owner.(*simWrite).answered(n)
		for _, j := range wr.Joined {
			j.Owner.(*simWrite).answered(n)
		}
	}
	for _, o := range f.Freed {
		n.waiting = slices.DeleteFunc(n.waiting, func(x *simWrite) bool { return x.op.o.id == o })
	}
	if f.UpThru != 0 && n.serving() {
		thru := min(f.UpThru, n.w.cur().epoch)
		if n.w.cur().up[n.id] && n.w.cur().upThru[n.id] < thru {
			n.w.change(func(m *simMap) { m.upThru[n.id] = thru })
		}
	}
	if f.AskTemp && n.serving() && n.w.cur().up[n.id] && !slices.Equal(n.w.cur().temp, f.Temp) {
		n.w.change(func(m *simMap) { m.temp = slices.Clone(f.Temp) })
	}
	if f.Retire {
		n.remove()
	}
	if f.Clean {
		n.w.clean++
	}
}

// remove deletes the PG here, as the daemon does: first it becomes nothing,
// then its objects go.
func (n *simNode) remove() {
	n.w.note("osd.%d removes its copy", n.id)
	n.w.counts["removed"]++
	t := &store.Txn{}
	t.MetaRmRange(testPG, "", "\xff")
	for _, id := range n.list(wire.MinHObject, wire.MaxHObject) {
		t.Remove(id)
	}
	n.core = nil
	n.self, n.works = nil, nil
	n.queue(t, func(*Effects) {})
}

func (n *simNode) list(first, end wire.HObject) []store.ObjectID {
	ids, _, err := n.mem.List(wire.NoShard, first, end, 10000)
	if err != nil {
		n.w.fatalf("%v", err)
	}
	return ids
}

// advance brings the next map.
func (n *simNode) advance(m *simMap) {
	n.epoch = m.epoch
	i := n.w.interval(m)
	if n.core == nil && i.Primary == n.id && n.boot != 0 {
		n.create(0)
		if m.epoch == 1 {
			n.core.history = History{Created: 1, PastFrom: 1}
		}
	}
	if n.core != nil {
		n.with(func(f *Effects) { n.core.MapAdvance(m.epoch, i, m, f) })
	}
	later := n.later
	n.later = nil
	for _, l := range later {
		n.handle(l)
	}
}

func (n *simNode) create(created wire.Epoch) {
	n.core = New(testPG, n.id, created)
	n.short()
	t := &store.Txn{}
	n.core.Rows(t)
	n.queue(t, func(*Effects) {})
}

// short gives the PG a short log, so that it is often not long enough.
func (n *simNode) short() {
	n.core.logMin, n.core.trimStep = 12+n.w.rng.IntN(4), 2
}

func (n *simNode) handle(m Message) {
	h := m.About()
	if h.At > n.epoch {
		n.later = append(n.later, m)
		return
	}
	if n.core == nil {
		switch m.(type) {
		case *Query:
			n.w.links[[2]int32{n.id, h.From}] = append(n.w.links[[2]int32{n.id, h.From}],
				&Notify{Head: Head{PG: testPG, From: n.id, Epoch: h.Epoch, At: n.epoch}})
			return
		case *Activate:
			n.w.counts["created"]++
			n.create(0)
			cur := n.w.maps[n.epoch]
			n.with(func(f *Effects) { n.core.MapAdvance(n.epoch, n.w.interval(cur), cur, f) })
		default:
			return
		}
	}
	if n.core == nil {
		return
	}
	switch m := m.(type) {
	case *RepOp:
		t := &store.Txn{}
		n.with(func(f *Effects) {
			if n.core.HandleRepOp(m, t, f) {
				core := n.core
				n.queue(t, func(f *Effects) {
					if n.core == core {
						core.ReplicaCommitted(m, f)
					}
				})
			}
		})
		return
	case *Push:
		n.push(m)
		return
	}
	var own []Entry
	if from, ok := n.core.Needs(m); ok {
		var err error
		if own, err = ReadLog(n.mem, testPG, from); err != nil {
			n.w.fatalf("%v", err)
		}
	}
	switch m := m.(type) {
	case *Activate:
		if m.Reset {
			n.w.counts["reset"]++
		} else if m.Info.Held && n.core.backfilled.Compare(wire.MinHObject) > 0 && !n.core.backfilled.Max {
			n.w.counts["continued"]++
		}
	}
	n.with(func(f *Effects) { n.core.Handle(m, own, f) })
}

// parts gives an object's head and clones.
func (n *simNode) parts(o wire.HObject) []store.ObjectID {
	first, end := o, o
	first.Snap, end.Snap = 0, wire.SnapDir
	return n.list(first, end)
}

// version is that of an object's head.
func (n *simNode) version(o wire.HObject) (v wire.EVersion) {
	b, err := n.mem.Xattr(simID(o), "_")
	if err == nil {
		fmt.Sscanf(string(b), "%d'%d", &v.Epoch, &v.Version)
	}
	return v
}

func simID(o wire.HObject) store.ObjectID {
	return store.ObjectID{HObject: o, Shard: wire.NoShard, Gen: store.NoGen}
}

func (n *simNode) push(m *Push) {
	if m.Pull {
		n.w.counts["pull"]++
	} else {
		n.w.counts["push"]++
	}
	t := &store.Txn{}
	if !m.Failed {
		for _, id := range n.parts(m.Object) {
			t.Remove(id)
		}
		t.Append(&m.Txn)
	}
	n.with(func(f *Effects) { n.core.HandlePush(m, t, f) })
}

// work does one piece of Work.
func (n *simNode) work() bool {
	if len(n.works) == 0 || n.core == nil {
		return false
	}
	i := n.w.rng.IntN(len(n.works))
	x := n.works[i]
	n.works = slices.Delete(n.works, i, i+1)
	if x.Epoch != n.core.Since() {
		return true
	}
	n.w.note("osd.%d work %d %v for %d", n.id, x.Kind, x.Object.Name, x.OSD)
	switch x.Kind {
	case WorkErase:
		t := &store.Txn{}
		for _, id := range n.parts(x.Object) {
			t.Remove(id)
		}
		n.with(func(f *Effects) { n.core.Erased(x, t, f) })
	case WorkPush:
		m := &Push{Head: n.core.head(), Object: x.Object, Version: n.version(x.Object), Last: true, Pull: x.Pull, Knows: x.Knows}
		for _, id := range n.parts(x.Object) {
			m.Parts = append(m.Parts, id.Snap)
			d, _ := n.mem.Read(id, 0, 1<<20)
			kvs, _ := n.mem.Xattrs(id)
			m.Txn.Write(id, 0, d)
			m.Txn.SetXattrs(id, kvs...)
		}
		n.with(func(f *Effects) { f.Send = append(f.Send, PeerMsg{x.OSD, m}) })
	case WorkScan, WorkScanPeer:
		var heads []Missing
		end := x.End
		if x.Kind == WorkScan {
			end = wire.MaxHObject
		}
		for _, id := range n.list(x.First, wire.MaxHObject) {
			h := id.Head()
			if h.Compare(x.First) <= 0 || h.Compare(end) > 0 || len(heads) > 0 && heads[len(heads)-1].Object == h {
				continue
			}
			if len(heads) == 2 {
				end = heads[1].Object
				break
			}
			heads = append(heads, Missing{Object: h, Need: n.version(h)})
		}
		if x.Kind == WorkScan {
			n.with(func(f *Effects) { n.core.HaveScanned(x, heads, end, f) })
			return true
		}
		m := &Scanned{Head: n.core.head(), First: x.First, End: end, Objects: heads}
		n.with(func(f *Effects) { f.Send = append(f.Send, PeerMsg{x.OSD, m}) })
	}
	return true
}
