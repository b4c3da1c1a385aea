package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// group is a run of events that becomes durable as a whole.
type group struct {
	batches []*batch
	end     uint64        // position of its last event
	done    chan struct{} // closed when durable, or when the journal has ended
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// batch is the records that one vector writes.
type batch struct {
	object uint64
	off    int // in the object
	size   int
	data   wire.Data
	buf    *wire.Buf // being filled; its bytes from mark on are not in data yet
	mark   int
	fill   int
	group  *group // whose last batch this is, or nil
	landed bool
	op     rados.Op
	ops    [5]wire.Op
}

// write adds p at the end of the batch.
func (b *batch) write(p []byte) {
	b.size += len(p)
	for len(p) > 0 {
		if b.buf == nil {
			want := 4 << 10
			if b.size > want {
				want = 64 << 10
			}
			b.buf = wire.NewBuf(want)
			b.mark, b.fill = 0, 0
		}
		n := copy(b.buf.Bytes()[b.fill:], p)
		b.fill += n
		p = p[n:]
		if b.fill == b.buf.Cap() {
			b.seal()
		}
	}
}

// seal moves what was filled to data.
func (b *batch) seal() {
	if b.buf == nil {
		return
	}
	b.data.Append(b.buf, b.mark, b.fill-b.mark)
	b.buf = nil
}

// Append adds an event to what is sent next and gives its position.
// Positions grow. It copies the event, does no I/O and never blocks; its
// order is the order of replay, so call it under the lock that orders the
// changes. A bound on memory is kept by calling Throttle first, without that
// lock. It panics for an event over MaxEvent. After the journal has ended it
// drops the event, and Wait says so.
func (j *Journal) Append(event []byte) (pos uint64) {
	if len(event) > MaxEvent {
		panic(fmt.Sprintf("journal: an event of %d bytes", len(event)))
	}
	size := recordHead + len(event)
	j.mu.Lock()
	defer j.mu.Unlock()
	prev, begin := j.head, j.head
	if begin%objectSize+uint64(size) > objectSize {
		begin += objectSize - begin%objectSize
	}
	j.head = begin + uint64(size)
	if j.err != nil {
		return j.head
	}
	var b *batch
	if k := len(j.open.batches); k > 0 {
		b = j.open.batches[k-1]
	}
	if b == nil || begin != prev || b.object != begin/objectSize || b.size+size > maxVector {
		b = &batch{object: begin / objectSize, off: int(begin % objectSize)}
		j.open.batches = append(j.open.batches, b)
	}
	var head [recordHead]byte
	putHead(head[:], begin, prev, j.epoch, event)
	b.write(head[:])
	b.write(event)
	j.open.end = j.head
	j.pending += size
	j.Metrics.Events.Add(1)
	if len(j.open.batches) == 1 && b.size == size {
		j.work.Broadcast()
	}
	if prev/objectSize != j.head/objectSize {
		j.grow.Signal()
	}
	return j.head
}

// cut ends the open group: what it has goes out together. While groups that
// were cut wait to be sent it does nothing.
func (j *Journal) cut() {
	j.mu.Lock()
	defer j.mu.Unlock()
	g := j.open
	if len(g.batches) == 0 || len(j.queue) > 0 || j.err != nil {
		return
	}
	j.open = newGroup()
	g.batches[len(g.batches)-1].group = g
	j.groups = append(j.groups, g)
	j.queue = append(j.queue, g.batches...)
	g.batches = nil
}

// drop gives the batch's memory back, which nobody will send.
func (b *batch) drop() {
	b.seal()
	b.data.Release()
	b.data = wire.Data{}
}

// lane sends one batch after another until the journal has ended.
func (j *Journal) lane() {
	defer j.done.Done()
	for {
		j.turn <- struct{}{}
		b := j.take()
		if b == nil {
			<-j.turn
			return
		}
		// Under the turn, so that starts are in the order of offsets.
		call := j.meta.Start(j.ctx, &b.op)
		<-j.turn
		j.Metrics.Vectors.Add(1)
		err := j.settle(b, call)
		b.data.Release()
		if err != nil {
			j.fail(err)
			return
		}
		j.landed(b)
	}
}

// take waits for the next batch that may be sent; nil when the journal has
// ended. Its caller holds the turn.
func (j *Journal) take() *batch {
	for {
		j.mu.Lock()
		for j.err == nil && len(j.queue) == 0 && len(j.open.batches) == 0 {
			j.work.Wait()
		}
		if j.err != nil {
			j.mu.Unlock()
			return nil
		}
		if len(j.queue) > 0 {
			break
		}
		j.mu.Unlock()
		if j.o.Seal != nil {
			j.o.Seal(j.cut)
		}
		j.cut()
	}
	defer j.mu.Unlock()
	b := j.queue[0]
	for j.err == nil && (b.object > j.ready || len(j.flight) > 0 && j.flight[len(j.flight)-1].object != b.object) {
		j.work.Wait()
	}
	if j.err != nil {
		return nil
	}
	j.queue = j.queue[1:]
	j.flight = append(j.flight, b)
	j.prepare(b)
	return b
}

// prepare makes the batch's vector.
func (j *Journal) prepare(b *batch) {
	b.seal()
	end := uint64(b.off + b.size)
	ops := append(b.ops[:0],
		cmpEpoch(wire.CmpEQ, j.epoch),
		wire.Op{Code: wire.OpCmpXattr, Name: attrEnd, CmpOp: wire.CmpEQ, CmpMode: wire.CmpU64, Num: uint64(b.off)},
		wire.Op{Code: wire.OpWrite, Off: uint64(b.off), Len: uint64(b.size), Data: b.data},
		setAttr(attrEnd, decimal(end)))
	if b.group != nil {
		ops = append(ops, setAttr(attrDone, ops[3].Value))
	}
	b.op = rados.Op{Object: j.names.object(b.object), Flags: wire.FlagFullTry, Ops: ops}
}

// settle waits for the batch's answer, and sends it again while the store
// refuses it for a reason that may pass. Its error ends the journal.
func (j *Journal) settle(b *batch, call *rados.Call) error {
	_, err := call.Wait(j.ctx)
	for err != nil {
		if e := j.awaitTurnOf(b); e != nil {
			return e
		}
		if wire.ErrnoOf(err) == wire.ECANCELED {
			landed, e := j.whyRefused(b)
			if landed || e != nil {
				return e
			}
		} else if !passing(err) {
			return wire.Wrap("journal.append", b.op.Object, err)
		} else {
			j.pause(b.op.Object, err)
		}
		_, err = j.meta.Do(j.ctx, &b.op)
	}
	return nil
}

// awaitTurnOf waits until everything sent before b has landed: only then is
// it known why b was refused.
func (j *Journal) awaitTurnOf(b *batch) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.err == nil && j.flight[0] != b {
		j.work.Wait()
	}
	return j.err
}

// whyRefused finds out why a vector's comparison failed: deposed; because
// the one before it had been refused, so that it may be sent again; or
// because it had in fact landed, and only its answer was lost.
func (j *Journal) whyRefused(b *batch) (landed bool, err error) {
	for {
		a, err := readAttrs(j.ctx, j.meta, b.op.Object)
		if j.ctx.Err() != nil {
			return false, j.Err()
		}
		if err != nil && passing(err) {
			j.pause(b.op.Object, err)
			continue
		}
		if err != nil {
			return false, err
		}
		switch end := a.num(attrEnd); {
		case a.num(attrEpoch) != j.epoch:
			return false, wire.Wrap("journal.append", b.op.Object, ErrDeposed)
		case end >= uint64(b.off+b.size): // over it: the one after it has landed, too
			return true, nil
		case end == uint64(b.off):
			return false, nil
		default:
			return false, wire.Wrap("journal.append", b.op.Object,
				fmt.Errorf("it ends at %d, below or inside the write of %d bytes at %d: %w", end, b.size, b.off, wire.EIO))
		}
	}
}

// landed notes that a batch is durable, and tells the waiters of the groups
// that are now whole.
func (j *Journal) landed(b *batch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b.landed = true
	if j.err != nil {
		return
	}
	for len(j.flight) > 0 && j.flight[0].landed {
		f := j.flight[0]
		j.flight = j.flight[1:]
		j.pending -= f.size
		j.Metrics.Bytes.Add(uint64(f.size))
		if f.group != nil {
			j.durable.Store(f.group.end)
			close(f.group.done)
			j.groups = j.groups[1:]
		}
	}
	j.work.Broadcast()
	if j.pending <= j.o.MaxPending {
		wake(&j.room)
	}
}

// Wait returns nil once the event at pos is durable; every earlier one is
// then as well. EINVAL: no event was appended there yet.
func (j *Journal) Wait(ctx context.Context, pos uint64) error {
	if pos <= j.Durable() {
		return nil
	}
	j.mu.Lock()
	done := j.open.done
	for _, g := range j.groups {
		if pos <= g.end {
			done = g.done
			break
		}
	}
	err := j.err
	if pos > j.head {
		err = wire.Errorf("journal.wait", j.names.header, wire.EINVAL)
	}
	j.mu.Unlock()
	if pos <= j.Durable() {
		return nil
	}
	if err != nil {
		return err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return gaveUp("journal.wait", j.names.header, ctx)
	}
	if pos <= j.Durable() {
		return nil
	}
	return j.Err()
}

// Throttle waits while more than MaxPending bytes wait for the store.
func (j *Journal) Throttle(ctx context.Context) error {
	return j.waitFor(ctx, &j.room, func() bool { return j.pending <= j.o.MaxPending })
}

// Write runs a vector that changes any other object of the metadata pool
// under this holder's epoch: it raises the epoch on the object, making the
// object if need be, together with ops, which must not compare anything.
// ErrDeposed: a later holder has written the object; the journal has ended.
func (j *Journal) Write(ctx context.Context, object string, ops ...wire.Op) error {
	return j.noteDeposed(raise(ctx, j.meta, object, j.epoch, ops))
}

// Remove deletes an object of the metadata pool under this holder's epoch;
// one that isn't there is no error.
func (j *Journal) Remove(ctx context.Context, object string) error {
	_, err := j.meta.Do(ctx, &rados.Op{Object: object, Flags: wire.FlagFullTry, Ops: []wire.Op{
		cmpEpoch(wire.CmpGTE, j.epoch), {Code: wire.OpDelete},
	}})
	switch wire.ErrnoOf(err) {
	case wire.ENOENT:
		return nil
	case wire.ECANCELED:
		err = ErrDeposed
	}
	return j.noteDeposed(wire.Wrap("journal.remove", object, err))
}

func (j *Journal) noteDeposed(err error) error {
	if err != nil && wire.ErrnoOf(err) == wire.ESHUTDOWN && isDeposed(err) {
		j.fail(err)
	}
	return err
}

// noteRenewal records when a successful renewal was sent.
func (j *Journal) noteRenewal(sent time.Time) {
	j.goodMono.Store(int64(sent.Sub(j.start)))
	j.goodWall.Store(sent.UnixNano())
}
