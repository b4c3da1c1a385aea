package journal

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crcOf(head, body []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, head), castagnoli, body)
}

// headerState is the content of j.R, written whole:
//
//	magic u32, version u8, oldest reader u8, zero u16,
//	trimmed u64, limit u64, deleted u64,
//	length of extra u32, extra, CRC-32C u32 of all before
type headerState struct {
	trimmed uint64 // position up to which events are given up
	limit   uint64 // the last journal object that may exist
	deleted uint64 // every journal object below this number was deleted
	extra   []byte
}

const (
	headerMagic   = 0x484a5053 // "SPJH"
	headerVersion = 1
	headerSize    = 40 // with no extra
)

func (h *headerState) encode() []byte {
	le := binary.LittleEndian
	p := make([]byte, 0, headerSize+len(h.extra))
	p = le.AppendUint32(p, headerMagic)
	p = append(p, headerVersion, headerVersion, 0, 0)
	p = le.AppendUint64(p, h.trimmed)
	p = le.AppendUint64(p, h.limit)
	p = le.AppendUint64(p, h.deleted)
	p = le.AppendUint32(p, uint32(len(h.extra)))
	p = append(p, h.extra...)
	return le.AppendUint32(p, crcOf(p, nil))
}

func decodeHeader(p []byte) (h headerState, err error) {
	le := binary.LittleEndian
	if len(p) < headerSize || le.Uint32(p) != headerMagic {
		return h, fmt.Errorf("no journal header: %w", wire.EIO)
	}
	if p[5] > headerVersion {
		return h, fmt.Errorf("journal header is of version %d, readable from version %d on: %w", p[4], p[5], wire.EOPNOTSUPP)
	}
	body, sum := p[:len(p)-4], le.Uint32(p[len(p)-4:])
	if crcOf(body, nil) != sum {
		return h, fmt.Errorf("journal header has a wrong checksum: %w", wire.EIO)
	}
	n := le.Uint32(p[32:])
	if n > MaxExtra || int(n) > len(body)-36 {
		return h, fmt.Errorf("journal header has a wrong length: %w", wire.EIO)
	}
	h.trimmed, h.limit, h.deleted = le.Uint64(p[8:]), le.Uint64(p[16:]), le.Uint64(p[24:])
	h.extra = append([]byte(nil), p[36:36+n]...)
	if h.trimmed/objectSize > h.limit || h.deleted > h.trimmed/objectSize || h.limit-h.trimmed/objectSize > maxObjects {
		return h, fmt.Errorf("journal header makes no sense (trimmed %d, deleted %d, limit %d): %w", h.trimmed, h.deleted, h.limit, wire.EIO)
	}
	return h, nil
}

// maxObjects bounds how many journal objects a header may speak of: 256 GiB.
const maxObjects = 64 << 10

// change applies fn to the header and writes it. Callers take turns. The
// write is not given up when ctx ends: what it left could not be told then.
func (j *Journal) change(ctx context.Context, fn func(h *headerState)) error {
	select {
	case j.header <- struct{}{}:
	case <-ctx.Done():
		return gaveUp("journal.header", j.names.header, ctx)
	}
	defer func() { <-j.header }()
	j.mu.Lock()
	if j.err != nil {
		defer j.mu.Unlock()
		return j.err
	}
	h := j.hdr
	j.mu.Unlock()
	fn(&h)
	op := &rados.Op{Object: j.names.header, Flags: wire.FlagFullTry, Ops: []wire.Op{
		cmpEpoch(wire.CmpEQ, j.epoch),
		{Code: wire.OpWriteFull, Data: wire.DataOf(h.encode())},
	}}
	if err := j.persist(op); err != nil {
		return err
	}
	j.mu.Lock()
	j.hdr = h
	j.mu.Unlock()
	return nil
}

// persist does a write that may be repeated, until the store takes it or the
// journal has ended.
func (j *Journal) persist(op *rados.Op) error {
	for {
		_, err := j.meta.Do(j.ctx, op)
		if err == nil {
			return nil
		}
		if j.ctx.Err() != nil {
			return j.Err()
		}
		if wire.ErrnoOf(err) == wire.ECANCELED {
			err = wire.Wrap("journal.write", op.Object, ErrDeposed)
			j.fail(err)
			return err
		}
		if !passing(err) {
			err = wire.Wrap("journal.write", op.Object, err)
			j.fail(err)
			return err
		}
		j.pause(op.Object, err)
	}
}

// passing tells errors that time may cure, and that left nothing behind or
// something that may be written again.
func passing(err error) bool {
	switch wire.ErrnoOf(err) {
	case wire.ENOSPC, wire.EDQUOT, wire.EAGAIN, wire.EBUSY, wire.ETIMEDOUT, wire.ENOMEM:
		return true
	}
	return false
}

// pause waits before a write is tried again.
func (j *Journal) pause(object string, err error) {
	j.Metrics.Retries.Add(1)
	j.log.Warn("journal write refused, trying again", "object", object, "err", err)
	select {
	case <-time.After(retryPause):
	case <-j.ctx.Done():
	}
}

// Extra is the small state in the header, as it was last set. The caller
// doesn't change it.
func (j *Journal) Extra() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.hdr.extra
}

// SetExtra replaces the small state, durable when it returns. EMSGSIZE: over
// MaxExtra bytes.
func (j *Journal) SetExtra(ctx context.Context, extra []byte) error {
	if len(extra) > MaxExtra {
		return wire.Errorf("journal.setextra", j.names.header, wire.EMSGSIZE)
	}
	own := append([]byte(nil), extra...)
	return j.change(ctx, func(h *headerState) { h.extra = own })
}

// Trim gives up the events up to and including the one at pos, which must be
// durable: their effects are stored elsewhere. The journal objects that only
// they lie in are deleted. EINVAL: not durable.
func (j *Journal) Trim(ctx context.Context, pos uint64) error {
	if pos > j.Durable() {
		return wire.Errorf("journal.trim", j.names.header, wire.EINVAL)
	}
	if pos <= j.Trimmed() {
		return nil
	}
	err := j.change(ctx, func(h *headerState) { h.trimmed = max(h.trimmed, pos) })
	if err != nil {
		return err
	}
	return j.deleteTrimmed(ctx)
}

// deleteTrimmed deletes the journal objects below the trimmed position. That
// they are gone is written with the next change of the header.
func (j *Journal) deleteTrimmed(ctx context.Context) error {
	j.mu.Lock()
	first, end := j.hdr.deleted, j.hdr.trimmed/objectSize
	j.mu.Unlock()
	if first >= end {
		return nil
	}
	err := eachObject(first, end-1, func(n uint64) error {
		_, err := j.meta.Do(ctx, &rados.Op{Object: j.names.object(n), Flags: wire.FlagFullTry, Ops: []wire.Op{{Code: wire.OpDelete}}})
		if wire.ErrnoOf(err) == wire.ENOENT {
			return nil
		}
		return err
	})
	if err != nil {
		return wire.Wrap("journal.trim", j.names.header, err)
	}
	j.mu.Lock()
	j.hdr.deleted = max(j.hdr.deleted, end)
	j.mu.Unlock()
	return nil
}

// keepLimit moves the limit ahead of the head, and makes the objects up to
// it, until the journal ends.
func (j *Journal) keepLimit() {
	defer j.done.Done()
	for {
		j.mu.Lock()
		for j.err == nil && j.ready >= j.head/objectSize+ahead {
			j.grow.Wait()
		}
		if j.err != nil {
			j.mu.Unlock()
			return
		}
		limit := max(j.hdr.limit, j.head/objectSize+stride)
		first := j.ready + 1
		j.mu.Unlock()
		if err := j.change(j.ctx, func(h *headerState) { h.limit = max(h.limit, limit) }); err != nil {
			return // the journal has ended
		}
		if err := j.makeObjects(first, limit); err != nil {
			return
		}
		j.mu.Lock()
		j.ready = limit
		j.work.Broadcast()
		j.mu.Unlock()
	}
}

// makeObjects creates journal objects that the limit already allows. One
// that is there was made by this holder before (and the answer was lost), or
// by one that has deposed it.
func (j *Journal) makeObjects(first, last uint64) error {
	for {
		err := eachObject(first, last, func(n uint64) error { return raise(j.ctx, j.meta, j.names.object(n), j.epoch, nil) })
		if err == nil || j.ctx.Err() != nil {
			return err
		}
		if !passing(err) {
			j.fail(err)
			return err
		}
		j.pause(j.names.header, err)
	}
}
