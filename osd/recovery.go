package osd

import (
	"errors"
	"slices"
	"time"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of recovery. Each of the recoverer's goroutines has one piece in
// flight, so recoverySlots*pieceBytes bounds the bytes.
const (
	recoverySlots = 8
	pieceBytes    = 2 << 20
	pieceKeys     = 1000             // omap entries read at a time
	pieceWait     = 30 * time.Second // for a piece to be taken; the core begins again
	scanPeerHeads = 4096             // heads in one answer to Scan
	scanOwnHeads  = 64
	reservedSpace = 64 << 20 // bytes that recovery leaves free
)

// work does what takes reading of objects, on one of the recoverer's
// goroutines.
func (g *group) work(w pg.Work) {
	if g.osd.closing.Load() || !g.now(w.Epoch) {
		return
	}
	var err error
	switch w.Kind {
	case pg.WorkPush:
		err = g.push(w)
	case pg.WorkErase:
		var t store.Txn
		if err = g.erase(w.Object, &t); err == nil {
			g.with(func(f *pg.Effects) { g.core.Erased(w, &t, f) })
		}
	case pg.WorkScan:
		var heads []pg.Missing
		var end wire.HObject
		if heads, end, err = g.heads(w.First, wire.MaxHObject, scanOwnHeads); err == nil {
			g.with(func(f *pg.Effects) { g.core.HaveScanned(w, heads, end, f) })
		}
	case pg.WorkScanPeer:
		m := &pg.Scanned{First: w.First}
		if m.Objects, m.End, err = g.heads(w.First, w.End, scanPeerHeads); err == nil {
			g.send(w.OSD, w.Epoch, m)
		}
	}
	if err != nil {
		g.osd.log.Error("recovery can't go on", "pg", g.id, "work", w.Kind, "object", w.Object, "err", err)
	}
}

// now reports whether the PG still is in the interval that began at epoch.
func (g *group) now(epoch wire.Epoch) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.core.Since() == epoch && !g.core.Retired()
}

// send sends a message of recovery, unless a new interval began.
func (g *group) send(osd int32, epoch wire.Epoch, m pg.Message) bool {
	g.mu.Lock()
	h := g.core.Head()
	g.mu.Unlock()
	if h.Epoch != epoch {
		return false
	}
	*m.About() = h
	g.osd.peers.send(g.osd, osd, m)
	return true
}

// parts gives an object's head and clones, as the store has them.
func (g *group) parts(head wire.HObject) ([]store.ObjectID, error) {
	first, end := head, head
	first.Snap, end.Snap = 0, wire.SnapDir
	var out []store.ObjectID
	for {
		ids, more, err := g.osd.store.List(g.id.Shard, first, end, 256)
		if err != nil {
			return nil, err
		}
		out = append(out, ids...)
		if !more || len(ids) == 0 {
			return out, nil
		}
		first = ids[len(ids)-1].HObject
		first.Snap++
	}
}

// heads lists the heads after first up to end with their versions, max of
// them: at is the last one then, and end otherwise.
func (g *group) heads(first, end wire.HObject, max int) (out []pg.Missing, at wire.HObject, err error) {
	cur := g.osd.current.Load()
	if cur.Pool(g.id.Pool) == nil {
		return nil, end, nil
	}
	from, stop := g.objectRange()
	if !first.Max && first.Compare(from) > 0 {
		from = first
		from.Snap = wire.SnapDir // behind the head; no object has it
	}
	for {
		ids, more, err := g.osd.store.List(g.id.Shard, from, stop, 512)
		if err != nil {
			return nil, end, err
		}
		for _, id := range ids {
			head := id.Head()
			if head.Compare(end) > 0 {
				return out, end, nil
			}
			from = id.HObject
			from.Snap++
			if len(out) > 0 && out[len(out)-1].Object == head {
				continue
			}
			if len(out) == max {
				return out, out[max-1].Object, nil
			}
			o, err := objop.Load(g.osd.store, head, g.id.Shard)
			if err != nil {
				return nil, end, err
			}
			out = append(out, pg.Missing{Object: head, Need: o.Info.Version})
		}
		if !more || len(ids) == 0 {
			return out, end, nil
		}
	}
}

// listRange gives the range of a PG's objects for List.
func listRange(pool *clustermap.Pool, id wire.PGID) (first, stop wire.HObject) {
	first, stop = bounds(pool, id)
	if stop.Max {
		stop = wire.HObject{Pool: id.Pool + 1}
	} else {
		stop.Snap = 0
	}
	return first, stop
}

// pushKey names an object on its way to an OSD.
type pushKey struct {
	osd    int32
	object wire.HObject
}

// pusher sends one object in pieces.
type pusher struct {
	g    *group
	w    pg.Work
	m    *pg.Push // the piece that is being filled
	size int
	acks chan uint32
}

// errInterval ends a push that a new interval has made pointless.
var errInterval = wire.Errorf("push", "the interval is over", wire.EAGAIN)

// push reads an object, head and clones and all, and sends it. Nobody writes
// to it meanwhile, or it will be sent again.
func (g *group) push(w pg.Work) error {
	key := pushKey{w.OSD, w.Object}
	p := &pusher{g: g, w: w, acks: make(chan uint32, 1)}
	g.mu.Lock()
	if g.pushing == nil {
		g.pushing = map[pushKey]chan uint32{}
	}
	if g.pushing[key] != nil { // it is on the way already
		g.mu.Unlock()
		return nil
	}
	g.pushing[key] = p.acks
	g.mu.Unlock()
	err := p.run()
	p.leave()
	if p.m != nil {
		p.m.Txn.Release()
	}
	if errors.Is(err, wire.EAGAIN) {
		return nil
	}
	if err != nil && w.Pull {
		g.send(w.OSD, w.Epoch, &pg.Push{Object: w.Object, Pull: true, Failed: true, Last: true})
	}
	return err
}

// leave makes room for another push of the object to the same OSD.
func (p *pusher) leave() {
	key := pushKey{p.w.OSD, p.w.Object}
	p.g.mu.Lock()
	if p.g.pushing[key] == p.acks {
		delete(p.g.pushing, key)
	}
	p.g.mu.Unlock()
}

func (p *pusher) run() error {
	g := p.g
	p.m = &pg.Push{Object: p.w.Object, Pull: p.w.Pull, Knows: p.w.Knows}
	o, err := objop.Load(g.osd.store, p.w.Object, g.id.Shard)
	if err != nil {
		return err
	}
	parts, err := g.parts(p.w.Object)
	if err != nil {
		return err
	}
	for _, id := range parts {
		if err := p.part(id); err != nil {
			return err
		}
		p.m.Parts = append(p.m.Parts, id.Snap)
	}
	p.m.Version = o.Info.Version
	for _, c := range o.SnapSet.Clones {
		p.m.Snaps = append(p.m.Snaps, c.Snaps...)
	}
	p.m.Last = true
	return p.flush()
}

// part adds the steps that make a head or clone.
func (p *pusher) part(id store.ObjectID) error {
	s := p.g.osd.store
	kvs, err := s.Xattrs(id)
	if err != nil {
		return err
	}
	p.m.Txn.Touch(id)
	for _, kv := range kvs {
		p.m.Txn.SetXattrs(id, kv)
		if err := p.add(len(kv.Key) + len(kv.Value)); err != nil {
			return err
		}
	}
	if err := p.omap(id); err != nil {
		return err
	}
	extents, err := s.Extents(id)
	if err != nil {
		return err
	}
	end := uint64(0)
	for _, x := range extents {
		for off := x.Off; off < x.Off+x.Len; {
			data, err := s.Read(id, off, min(wire.MaxBuf, x.Off+x.Len-off))
			if err != nil {
				return err
			}
			n := uint64(data.Len())
			if n == 0 {
				break
			}
			p.m.Txn.Write(id, off, data) // its reference goes over to the message
			off += n
			end = max(end, off)
			if err := p.add(int(n)); err != nil {
				return err
			}
		}
	}
	size, err := p.sizeOf(id)
	if err == nil && size != end {
		p.m.Txn.Truncate(id, size)
	}
	return err
}

// sizeOf is the size of a head or clone, a hole at its end included.
func (p *pusher) sizeOf(id store.ObjectID) (uint64, error) {
	raw, err := p.g.osd.store.Xattr(id, "_")
	if err != nil {
		return 0, err
	}
	i, err := objop.DecodeInfo(raw)
	return i.Size, err
}

func (p *pusher) omap(id store.ObjectID) error {
	s := p.g.osd.store
	h, err := s.OmapHeader(id)
	if err != nil {
		return err
	}
	if len(h) > 0 {
		p.m.Txn.OmapHeader(id, h)
		if err := p.add(len(h)); err != nil {
			return err
		}
	}
	for after := ""; ; {
		kvs, more, err := s.OmapList(id, after, "", pieceKeys, true)
		if err != nil || len(kvs) == 0 {
			return err
		}
		after = kvs[len(kvs)-1].Key
		for len(kvs) > 0 {
			n, size := 0, 0
			for n < len(kvs) && (n == 0 || size < pieceBytes) {
				size += len(kvs[n].Key) + len(kvs[n].Value)
				n++
			}
			p.m.Txn.OmapSet(id, kvs[:n:n])
			if err := p.add(size); err != nil {
				return err
			}
			kvs = kvs[n:]
		}
		if !more {
			return nil
		}
	}
}

// add counts bytes, and sends the piece when it is full.
func (p *pusher) add(n int) error {
	if p.size += n; p.size < pieceBytes {
		return nil
	}
	return p.flush()
}

// flush sends the piece, and waits until the next may follow.
func (p *pusher) flush() error {
	m, g := p.m, p.g
	if m.Last {
		p.leave()
	}
	sent := g.send(p.w.OSD, p.w.Epoch, m)
	m.Txn.Release()
	p.m, p.size = nil, 0
	if !sent {
		return errInterval
	}
	if m.Last {
		return nil
	}
	wait := time.NewTimer(pieceWait)
	defer wait.Stop()
	for {
		select {
		case n := <-p.acks:
			if n != m.Piece {
				continue
			}
			p.m = &pg.Push{Object: m.Object, Pull: m.Pull, Knows: m.Knows, Piece: m.Piece + 1, Parts: m.Parts}
			return nil
		case <-wait.C:
			return errInterval
		case <-g.osd.stop:
			return errInterval
		}
	}
}

// pieceTaken hands an acknowledgement to the push that waits for it. False:
// it is of a last piece, for the core.
func (g *group) pieceTaken(m *pg.PushAck) bool {
	if m.Last {
		return false
	}
	g.mu.Lock()
	ch := g.pushing[pushKey{m.From, m.Object}]
	g.core.PushProgress(m.Object)
	g.mu.Unlock()
	if ch != nil {
		select {
		case ch <- m.Piece:
		default:
		}
	}
	return true
}

// stage is an object that comes in pieces.
type stage struct {
	from  int32
	epoch wire.Epoch
	next  uint32
	parts map[store.ObjectID]bool
}

// maxStaged bounds the objects that come in pieces to one PG.
const maxStaged = 64

// staging is where a part of an object lies until the object is whole.
func staging(id store.ObjectID) store.ObjectID {
	id.Pool = -2 - id.Pool
	return id
}

// takePush takes a piece of an object.
func (g *group) takePush(m *pg.Push) {
	g.mu.Lock()
	wants := g.core.Wants(m)
	g.mu.Unlock()
	if !wants || !g.sane(m) {
		return
	}
	if m.Failed {
		g.with(func(f *pg.Effects) { g.core.HandlePush(m, &store.Txn{}, f) })
		return
	}
	if fs := g.osd.store.Statfs(); fs.Full || fs.Free < reservedSpace {
		g.osd.log.Warn("object not taken: the store is full", "pg", g.id, "object", m.Object)
		return
	}
	t := &store.Txn{}
	if m.Last && m.Piece == 0 {
		if err := g.erase(m.Object, t); err != nil {
			g.osd.log.Error("object can't be replaced", "pg", g.id, "object", m.Object, "err", err)
			return
		}
		t.Append(&m.Txn)
		g.finishPush(m, t)
		return
	}
	s, err := g.stage(m, t)
	if err != nil {
		g.osd.log.Error("object can't be staged", "pg", g.id, "object", m.Object, "err", err)
		return
	}
	if s == nil {
		return
	}
	for i := range m.Txn.Ops {
		op := m.Txn.Ops[i]
		s.parts[op.Object] = true
		op.Object = staging(op.Object)
		t.Ops = append(t.Ops, op)
	}
	if m.Last {
		g.unstage(m, s, t)
		return
	}
	g.queuePiece(m, t)
}

// queuePiece makes a piece that is not the last durable, and asks for the
// next.
func (g *group) queuePiece(m *pg.Push, t *store.Txn) {
	d := g.osd
	d.txns.Add(1)
	err := d.store.Queue(g.seq, t, func(err error) {
		defer d.txns.Done()
		if err != nil {
			d.fatal(wire.Wrap("commit", g.id.String(), err))
			return
		}
		g.mu.Lock()
		h := g.core.Head()
		g.mu.Unlock()
		d.peers.send(d, m.From, &pg.PushAck{Head: h, Object: m.Object, Piece: m.Piece})
	})
	if err != nil {
		d.txns.Done()
		d.log.Error("piece of an object not taken", "pg", g.id, "object", m.Object, "err", err)
	}
}

// sane reports whether a push contains nothing but its object.
func (g *group) sane(m *pg.Push) bool {
	ok := m.Object.Snap == wire.NoSnap && m.Object.Pool == g.id.Pool && !m.Object.Max
	for i := range m.Txn.Ops {
		op := &m.Txn.Ops[i]
		switch op.Kind {
		case store.OpTouch, store.OpWrite, store.OpTruncate, store.OpSetXattrs, store.OpOmapSet, store.OpOmapHeader:
		default:
			ok = false
		}
		ok = ok && op.Object.Head() == m.Object && op.Object.Shard == g.id.Shard && op.Object.Gen == store.NoGen
	}
	if !ok {
		g.osd.log.Error("malformed push", "pg", g.id, "from", m.From, "object", m.Object)
	}
	return ok
}

// stage finds or makes the place of an object that comes in pieces; nil if
// the piece is not the next one.
func (g *group) stage(m *pg.Push, t *store.Txn) (*stage, error) {
	if m.Piece == 0 {
		if len(g.staged) >= maxStaged {
			clear(g.staged)
		}
		if g.staged == nil {
			g.staged = map[wire.HObject]*stage{}
		}
		g.staged[m.Object] = &stage{from: m.From, epoch: m.Epoch, parts: map[store.ObjectID]bool{}}
		old := m.Object
		old.Pool = -2 - old.Pool
		left, err := g.parts(old)
		if err != nil {
			return nil, err
		}
		for _, id := range left {
			t.Remove(id)
		}
	}
	s := g.staged[m.Object]
	if s == nil || s.from != m.From || s.epoch != m.Epoch || s.next != m.Piece {
		return nil, nil
	}
	s.next++
	return s, nil
}

// unstage puts an object whose last piece has come into its place.
func (g *group) unstage(m *pg.Push, s *stage, t *store.Txn) {
	delete(g.staged, m.Object)
	if err := g.erase(m.Object, t); err != nil {
		g.osd.log.Error("object can't be replaced", "pg", g.id, "object", m.Object, "err", err)
		return
	}
	parts := make([]store.ObjectID, 0, len(s.parts))
	for id := range s.parts {
		parts = append(parts, id)
	}
	slices.SortFunc(parts, func(a, b store.ObjectID) int { return a.HObject.Compare(b.HObject) })
	for _, id := range parts {
		t.Clone(staging(id), id)
		t.Remove(staging(id))
	}
	g.finishPush(m, t)
}

func (g *group) finishPush(m *pg.Push, t *store.Txn) {
	for _, s := range m.Snaps {
		t.MetaSet(g.id, wire.KV{Key: pg.SnapRow(s, m.Object), Value: pg.SnapRowValue(m.Object)})
	}
	g.with(func(f *pg.Effects) { g.core.HandlePush(m, t, f) })
}

// erase adds to t what removes an object, with its rows of the snap index.
func (g *group) erase(head wire.HObject, t *store.Txn) error {
	o, err := objop.Load(g.osd.store, head, g.id.Shard)
	if err != nil && !errors.Is(err, wire.EIO) { // damaged: it is to be replaced
		return err
	}
	for _, c := range o.SnapSet.Clones {
		for _, s := range c.Snaps {
			t.MetaRm(g.id, pg.SnapRow(s, head))
		}
	}
	parts, err := g.parts(head)
	for _, id := range parts {
		t.Remove(id)
	}
	return err
}

// dropStaged removes what was left of objects that came in pieces.
func (g *group) dropStaged() error {
	d := g.osd
	m := d.current.Load()
	if m == nil || m.Pool(g.id.Pool) == nil {
		return nil
	}
	first, stop := g.objectRange()
	first.Pool, stop.Pool = -2-g.id.Pool, -2-g.id.Pool
	if stop.Hash == 0 && stop.Snap == 0 && stop.Name == "" {
		stop.Pool++
	}
	for {
		ids, _, err := d.store.List(g.id.Shard, first, stop, removeBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		t := &store.Txn{}
		for _, id := range ids {
			t.Remove(id)
		}
		if err := g.queueAndWait(t); err != nil {
			return err
		}
	}
}

// queueAndWait makes a change of the PG's own durable.
func (g *group) queueAndWait(t *store.Txn) error {
	done := make(chan error, 1)
	if err := g.osd.store.Queue(g.seq, t, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done
}
