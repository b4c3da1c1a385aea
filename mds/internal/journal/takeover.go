package journal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// Open takes the rank over: it raises the epoch on the lease, the header and
// every journal object that an older holder might write, and finds the true
// end. Unless Exclusive it first waits until the holder, if there is one,
// has not renewed its lease for Options.Takeover; ctx ends the wait.
//
// EIO: the header is damaged. ESHUTDOWN (ErrDeposed): another process took
// the rank at the same time.
func Open(ctx context.Context, meta rados.Doer, rank int, o Options) (*Journal, error) {
	o.fill()
	if rank < 0 || rank > 0xffff {
		return nil, wire.Errorf("journal.open", fmt.Sprintf("rank %d", rank), wire.EINVAL)
	}
	j := &Journal{
		meta: meta, names: namesOf(rank), o: o, log: o.Logger, open: newGroup(),
		turn: make(chan struct{}, 1), header: make(chan struct{}, 1), start: time.Now(),
	}
	j.work.L, j.grow.L = &j.mu, &j.mu
	j.ctx, j.stop = context.WithCancel(context.Background())
	fail := func(err error) (*Journal, error) {
		j.stop()
		return nil, wire.Wrap("journal.open", j.names.header, err)
	}
	sent, err := j.takeLease(ctx)
	if err != nil {
		return fail(err)
	}
	if err := j.takeHeader(ctx); err != nil {
		return fail(err)
	}
	if err := j.takeObjects(ctx); err != nil {
		return fail(err)
	}
	j.noteRenewal(sent)
	j.log.Info("journal taken over", "rank", rank, "epoch", j.epoch, "trimmed", j.hdr.trimmed, "head", j.head)
	j.done.Add(lanes + 2)
	for range lanes {
		go j.lane()
	}
	go j.keepLimit()
	go j.keepLease()
	return j, nil
}

// raise puts epoch on an object, with more operations in the same vector, or
// makes the object with them. ErrDeposed: the object has a higher one.
func raise(ctx context.Context, meta rados.Doer, object string, epoch uint64, more []wire.Op) error {
	set := setAttr(attrEpoch, decimal(epoch))
	forms := [2]wire.Op{cmpEpoch(wire.CmpGTE, epoch), {Code: wire.OpCreate, Flags: wire.OpExcl}}
	form := 0
	// An object can appear and go between two attempts only while somebody
	// else makes and deletes it.
	for range 4 {
		ops := append([]wire.Op{forms[form], set}, more...)
		_, err := meta.Do(ctx, &rados.Op{Object: object, Flags: wire.FlagFullTry, Ops: ops})
		switch wire.ErrnoOf(err) {
		case 0:
			return nil
		case wire.ENOENT:
			form = 1
		case wire.EEXIST:
			form = 0
		case wire.ECANCELED:
			return wire.Wrap("journal.raise", object, ErrDeposed)
		default:
			return wire.Wrap("journal.raise", object, err)
		}
	}
	return wire.Errorf("journal.raise", object, wire.EBUSY)
}

// eachObject calls fn for first to last, several at a time, and gives the
// first error.
func eachObject(first, last uint64, fn func(n uint64) error) error {
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		fails error
		next  = first
	)
	for range min(raising, int(min(last-first+1, raising))) {
		wg.Go(func() {
			for {
				mu.Lock()
				n, stop := next, fails != nil || next > last
				next++
				mu.Unlock()
				if stop {
					return
				}
				if err := fn(n); err != nil {
					mu.Lock()
					if fails == nil {
						fails = err
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return fails
}

// readAttrs gives an object's xattrs; ENOENT when it isn't there.
func readAttrs(ctx context.Context, meta rados.Doer, object string) (attrs, error) {
	reply, err := meta.Do(ctx, &rados.Op{Object: object, Ops: []wire.Op{{Code: wire.OpGetXattrs}}})
	if err != nil {
		return nil, wire.Wrap("journal.attrs", object, err)
	}
	a := make(attrs, 4)
	for _, kv := range reply.Results[0].KVs {
		a[kv.Key] = string(kv.Value)
	}
	return a, nil
}

// takeHeader raises j.R, or makes it for a new rank, and reads it.
func (j *Journal) takeHeader(ctx context.Context) error {
	fresh := headerState{limit: stride}
	create := &rados.Op{Object: j.names.header, Ops: []wire.Op{
		{Code: wire.OpCreate, Flags: wire.OpExcl},
		setAttr(attrEpoch, decimal(j.epoch)),
		{Code: wire.OpWriteFull, Data: wire.DataOf(fresh.encode())},
	}}
	bump := &rados.Op{Object: j.names.header, Flags: wire.FlagFullTry, Ops: []wire.Op{
		cmpEpoch(wire.CmpGTE, j.epoch), setAttr(attrEpoch, decimal(j.epoch)),
	}}
	_, err := j.meta.Do(ctx, bump)
	if wire.ErrnoOf(err) == wire.ENOENT {
		if _, err = j.meta.Do(ctx, create); wire.ErrnoOf(err) == wire.EEXIST {
			_, err = j.meta.Do(ctx, bump)
		}
	}
	if wire.ErrnoOf(err) == wire.ECANCELED {
		return ErrDeposed
	}
	if err != nil {
		return err
	}
	j.hdr, err = readHeader(ctx, j.meta, j.names.header)
	return err
}

func readHeader(ctx context.Context, meta rados.Doer, object string) (headerState, error) {
	reply, err := meta.Do(ctx, &rados.Op{Object: object, Ops: []wire.Op{{Code: wire.OpRead, Len: headerSize + MaxExtra + 1}}})
	if err != nil {
		return headerState{}, err
	}
	defer reply.Release()
	return decodeHeader(reply.Results[0].Data.Bytes())
}

// takeObjects raises every journal object in the window, finds the end, and
// cuts off a group that is not whole.
func (j *Journal) takeObjects(ctx context.Context) error {
	first, last := j.hdr.trimmed/objectSize, j.hdr.limit
	found := make([]attrs, last-first+1)
	err := eachObject(first, last, func(n uint64) error {
		object := j.names.object(n)
		if err := raise(ctx, j.meta, object, j.epoch, nil); err != nil {
			return err
		}
		a, err := readAttrs(ctx, j.meta, object)
		found[n-first] = a
		return err
	})
	if err != nil {
		return err
	}
	j.ready = last
	ends, whole, err := j.findEnd(first, found)
	if err != nil {
		return err
	}
	if err := j.cutTail(ctx, first, found, whole); err != nil {
		return err
	}
	j.tail = ends
	j.head = whole
	j.durable.Store(whole)
	return j.deleteTrimmed(ctx)
}

// findEnd gives what is used of each object, and the position where the last
// whole group ends.
func (j *Journal) findEnd(first uint64, found []attrs) (used []extent, whole uint64, err error) {
	lastDone := -1
	for i, a := range found {
		end, done := a.num(attrEnd), a.num(attrDone)
		if end > objectSize || done > end {
			return nil, 0, fmt.Errorf("%s says end %d, done %d: %w", j.names.object(first+uint64(i)), end, done, wire.EIO)
		}
		if done > 0 {
			lastDone = i
		}
	}
	whole = j.hdr.trimmed
	have := found[0].num(attrDone)
	if lastDone > 0 {
		have = found[0].num(attrEnd)
	}
	if have < whole%objectSize {
		return nil, 0, fmt.Errorf("%s ends at %d, below the trimmed position %d: %w", j.names.object(first), have, whole, wire.EIO)
	}
	for i := 0; i <= lastDone; i++ {
		e := extent{n: first + uint64(i), to: int(found[i].num(attrEnd))}
		if i == 0 {
			e.from = int(j.hdr.trimmed % objectSize)
		}
		if i == lastDone {
			e.to = int(found[i].num(attrDone))
			whole = max(whole, e.n*objectSize+uint64(e.to))
		}
		if e.to > e.from {
			used = append(used, e)
		}
	}
	return used, whole, nil
}

// cutTail cuts everything after whole, from the back, so that a crash half
// way leaves what a later takeover cuts the same way.
func (j *Journal) cutTail(ctx context.Context, first uint64, found []attrs, whole uint64) error {
	for i := len(found) - 1; i >= 0; i-- {
		n, keep := first+uint64(i), uint64(0)
		if n == whole/objectSize {
			keep = whole % objectSize
		}
		if n < whole/objectSize || found[i].num(attrEnd) <= keep {
			continue
		}
		j.log.Info("journal group without its end cut off", "object", j.names.object(n), "at", keep)
		_, err := j.meta.Do(ctx, &rados.Op{Object: j.names.object(n), Flags: wire.FlagFullTry, Ops: []wire.Op{
			cmpEpoch(wire.CmpEQ, j.epoch),
			{Code: wire.OpTruncate, Off: keep},
			setAttr(attrEnd, decimal(keep)),
		}})
		if wire.ErrnoOf(err) == wire.ECANCELED {
			return ErrDeposed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Replay calls fn for every event after position from (0: all that were not
// trimmed), in order, with the position that Append once gave. Events that
// this Journal appended are not among them. fn must not keep event. Its
// error ends the replay and is returned. EIO: a record is damaged.
func (j *Journal) Replay(ctx context.Context, from uint64, fn func(pos uint64, event []byte) error) error {
	prev := j.Trimmed()
	tail := j.tail
	for len(tail) > 1 && tail[1].n*objectSize <= from {
		prev = tail[0].n*objectSize + uint64(tail[0].to)
		tail = tail[1:]
	}
	buf := make([]byte, 0, objectSize)
	var next *rados.Call
	for i, e := range tail {
		call := next
		if call == nil {
			call = j.startRead(ctx, e)
		}
		next = nil
		if i+1 < len(tail) {
			next = j.startRead(ctx, tail[i+1])
		}
		p, err := finishRead(ctx, call, e, buf)
		if err != nil {
			return wire.Wrap("journal.replay", j.names.object(e.n), err)
		}
		err = records(p, e, prev, func(r record) error {
			prev = r.pos
			if r.pos <= from {
				return nil
			}
			return fn(r.pos, r.event)
		})
		if err != nil {
			return wire.Wrap("journal.replay", j.names.object(e.n), err)
		}
	}
	return nil
}

func (j *Journal) startRead(ctx context.Context, e extent) *rados.Call {
	return j.meta.Start(ctx, readOp(j.names.object(e.n), e))
}

func readOp(object string, e extent) *rados.Op {
	return &rados.Op{Object: object, Ops: []wire.Op{{Code: wire.OpRead, Off: uint64(e.from), Len: uint64(e.to - e.from)}}}
}

// finishRead gives the bytes of e, in buf's memory.
func finishRead(ctx context.Context, call *rados.Call, e extent, buf []byte) ([]byte, error) {
	reply, err := call.Wait(ctx)
	if err != nil {
		return nil, err
	}
	defer reply.Release()
	d := reply.Results[0].Data
	if d.Len() != e.to-e.from {
		return nil, fmt.Errorf("%d bytes where %d belong: %w", d.Len(), e.to-e.from, wire.EIO)
	}
	return d.AppendTo(buf[:0]), nil
}

// records calls fn for each record in p, the bytes of e.
func records(p []byte, e extent, prev uint64, fn func(record) error) error {
	begin := e.n*objectSize + uint64(e.from)
	for len(p) > 0 {
		r, n, err := parseRecord(p, begin, prev)
		if err != nil {
			return err
		}
		if err := fn(r); err != nil {
			return err
		}
		p, begin, prev = p[n:], begin+uint64(n), r.pos
	}
	return nil
}
