package store

import (
	"encoding/binary"
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// maxSmall is the largest run of whole blocks that goes through the log, in
// units; more is written to free units at once.
const maxSmall = 8

// largeWrite is the middle of an OpWrite that was written to free units
// before the plan ran.
type largeWrite struct {
	op    int
	first uint64 // logical unit
	runs  []run
	crcs  []uint32
}

func (p *plan) largeOf(op int) *largeWrite {
	for i := range p.large {
		if p.large[i].op == op {
			return &p.large[i]
		}
	}
	return nil
}

func (p *plan) write(n *onode, i int, op *Op) error {
	if op.Len == 0 {
		return nil
	}
	off, end := op.Off, op.Off+op.Len
	size := max(n.size, end)
	if n.inline != nil && size <= maxInline {
		b := make([]byte, size)
		copy(b, n.inline)
		op.Data.CopyTo(b[off:], 0)
		n.inline, n.size = b, size
		return nil
	}
	if off == 0 && end >= n.size {
		n.inline = nil
	} else if err := p.spill(n); err != nil {
		return err
	}
	lw := p.largeOf(i)
	for u := off / unitSize; u*unitSize < end; {
		if lw != nil && u == lw.first {
			if err := p.placeLarge(n, lw); err != nil {
				return err
			}
			u += uint64(len(lw.crcs))
			continue
		}
		at := u * unitSize
		from, to := max(off, at)-at, min(end, at+unitSize)-at
		if err := p.writeBlock(n, u, from, to, op.Data, int(at+from-off)); err != nil {
			return err
		}
		u++
	}
	n.size = size
	return nil
}

// spill moves inline content to a block.
func (p *plan) spill(n *onode) error {
	content := n.inline
	n.inline = nil
	if len(content) == 0 {
		return nil
	}
	_, err := p.modify(n, 0, false, func(b []byte) { copy(b, content) })
	return err
}

// placeLarge points cells at units that were written already.
func (p *plan) placeLarge(n *onode, lw *largeWrite) error {
	u, i := lw.first, 0
	for _, r := range lw.runs {
		for k := range r.n {
			si := uint32(u / shardUnits)
			s := p.shardFor(n, si)
			if c := s.cell[u%shardUnits]; c != 0 {
				if err := p.free(n, si, c); err != nil {
					return err
				}
			}
			s.cell[u%shardUnits], s.crc[u%shardUnits] = r.unit+k, lw.crcs[i]
			u, i = u+1, i+1
		}
	}
	return nil
}

// writeBlock writes [from, to) of a logical unit.
func (p *plan) writeBlock(n *onode, u, from, to uint64, d wire.Data, dataOff int) error {
	// What lies behind the object's end reads as zeros and needs no look.
	whole := from == 0 && (to == unitSize || u*unitSize+to >= n.size)
	_, err := p.modify(n, u, !whole, func(b []byte) {
		d.CopyTo(b[from:to], dataOff)
	})
	return err
}

// modify makes the image of a logical unit: f changes the old content, or
// zeros when old is false. An image that this plan made before is changed
// itself.
func (p *plan) modify(n *onode, u uint64, old bool, f func([]byte)) (*image, error) {
	si := uint32(u / shardUnits)
	cell, crc := n.cellAt(u)
	var content []byte
	if old && cell != 0 {
		var err error
		if content, err = p.content(cell&^cellShared, crc); err != nil {
			return nil, err
		}
	}
	alone := false
	if cell != 0 {
		var err error
		if alone, err = p.alone(n, si, cell); err != nil {
			return nil, err
		}
	}
	unit := cell &^ cellShared
	im := p.imageOf(unit)
	if im == nil || !alone {
		if !alone {
			rs, err := p.takeUnits(1)
			if err != nil {
				return nil, err
			}
			unit = rs[0].unit + rs[0].n - 1
		}
		im = &image{unit: unit, buf: wire.NewBuf(unitSize)}
		if content == nil {
			clear(im.buf.Bytes())
		} else {
			copy(im.buf.Bytes(), content)
		}
		p.images = append(p.images, im)
	} else if !old {
		clear(im.buf.Bytes())
	}
	if cell != 0 && !alone {
		if err := p.free(n, si, cell); err != nil {
			return nil, err
		}
	}
	f(im.buf.Bytes())
	im.crc = wire.CRC32C(im.buf.Bytes()[:unitSize])
	s := p.shardFor(n, si)
	s.cell[u%shardUnits], s.crc[u%shardUnits] = unit, im.crc
	return im, nil
}

func (p *plan) imageOf(unit uint64) *image {
	if unit == 0 {
		return nil
	}
	for _, im := range p.images {
		if im.unit == unit {
			return im
		}
	}
	return nil
}

// content gives a unit's present bytes: from an image on its way, or as
// fetched from the disk.
func (p *plan) content(unit uint64, crc uint32) ([]byte, error) {
	if im := p.imageOf(unit); im != nil {
		return im.buf.Bytes()[:unitSize], nil
	}
	if im := p.s.overlay[unit]; im != nil {
		return im.buf.Bytes()[:unitSize], nil
	}
	for _, b := range p.blocks {
		if b.unit == unit && b.crc == crc {
			return b.buf.Bytes()[:unitSize], nil
		}
	}
	p.need.what, p.need.block = needBlock, block{unit: unit, crc: crc}
	return nil, errNeeds
}

// drop makes a logical unit a hole.
func (p *plan) drop(n *onode, u uint64) error {
	cell, _ := n.cellAt(u)
	if cell == 0 {
		return nil
	}
	si := uint32(u / shardUnits)
	if err := p.free(n, si, cell); err != nil {
		return err
	}
	s := p.shardFor(n, si)
	s.cell[u%shardUnits], s.crc[u%shardUnits] = 0, 0
	return nil
}

func (p *plan) zero(n *onode, off, length uint64) error {
	end := min(off+length, n.size)
	if off >= end {
		return nil
	}
	if n.inline != nil {
		n.inline = slices.Clone(n.inline)
		clear(n.inline[off:end])
		return nil
	}
	for u := off / unitSize; u*unitSize < end; u++ {
		at := u * unitSize
		if int(u/shardUnits) >= len(n.shards) {
			break
		}
		if at >= off && (at+unitSize <= end || end == n.size) {
			if err := p.drop(n, u); err != nil {
				return err
			}
			continue
		}
		if c, _ := n.cellAt(u); c == 0 {
			continue
		}
		_, err := p.modify(n, u, true, func(b []byte) { clear(b[max(off, at)-at : min(end, at+unitSize)-at]) })
		if err != nil {
			return err
		}
	}
	n.tidy()
	return nil
}

func (p *plan) truncate(n *onode, size uint64) error {
	switch {
	case size == n.size:
		return nil
	case size > n.size:
		if n.inline != nil && size <= maxInline {
			n.inline = append(slices.Clip(n.inline), make([]byte, size-n.size)...)
		} else if err := p.spill(n); err != nil {
			return err
		}
		n.size = size
		return nil
	case n.inline != nil:
		n.inline = n.inline[:size:size]
		n.size = size
		return nil
	}
	if keep := size % unitSize; keep != 0 {
		u := size / unitSize
		if c, _ := n.cellAt(u); c != 0 {
			if _, err := p.modify(n, u, true, func(b []byte) { clear(b[keep:unitSize]) }); err != nil {
				return err
			}
		}
	}
	last := min((n.size+unitSize-1)/unitSize, uint64(len(n.shards))*shardUnits)
	for u := (size + unitSize - 1) / unitSize; u < last; u++ {
		if err := p.drop(n, u); err != nil {
			return err
		}
	}
	n.size = size
	n.tidy()
	return nil
}

// tidy restores the onode's invariants after units were dropped: no shard is
// empty, no nil is last, and small content without units is inline.
func (n *onode) tidy() {
	for i, s := range n.shards {
		if s != nil && s.empty() {
			n.shards[i] = nil
		}
	}
	for len(n.shards) > 0 && n.shards[len(n.shards)-1] == nil {
		n.shards = n.shards[:len(n.shards)-1]
	}
	if len(n.shards) == 0 && n.inline == nil && n.size <= maxInline {
		n.inline = make([]byte, n.size)
	}
}

// finish writes down what the steps came to.
func (p *plan) finish() error {
	p.objects = 0
	for i := range p.objs {
		if po := &p.objs[i]; po.changed {
			p.putObject(po)
			if po.base == nil && po.cur != nil {
				p.objects++
			} else if po.base != nil && po.cur == nil {
				p.objects--
			}
		}
	}
	if p.objects != 0 {
		p.stream = appendNumbers(p.stream, recObjects, zigzag(p.objects))
	}
	for i := range p.fams {
		p.putFamily(&p.fams[i])
	}
	if p.idLimit = p.s.idLimit; p.s.nextID+idStep/2 > p.idLimit {
		p.idLimit = p.s.nextID + idStep
		p.stream = appendPut(p.stream, []byte(markIDs), binary.LittleEndian.AppendUint64(nil, p.idLimit))
	}
	for _, im := range p.images {
		p.stream = appendNumbers(p.stream, recImage, im.unit)
	}
	// What large writes took is part of the record, too.
	for i := range p.large {
		for _, r := range p.large[i].runs {
			p.stream = appendNumbers(p.stream, recAlloc, r.unit, r.n)
		}
	}
	joined := run{}
	for i := range p.allocs {
		r := p.allocs[i]
		if joined.n > 0 && joined.unit+joined.n == r.unit {
			joined.n += r.n
		} else {
			joined = r
		}
		if i+1 == len(p.allocs) || p.allocs[i+1].unit != joined.unit+joined.n || joined.n+p.allocs[i+1].n > maxRun {
			p.stream = appendNumbers(p.stream, recAlloc, joined.unit, joined.n)
			joined = run{}
		}
	}
	for _, r := range p.frees {
		p.stream = appendNumbers(p.stream, recFree, r.unit, r.n)
	}
	if size := p.size(); size > p.s.maxRecord() {
		return wire.Errorf("store.queue", "transaction", wire.EFBIG)
	}
	return nil
}

// size is what the record takes in the log, when alone in its group.
func (p *plan) size() uint64 {
	return roundUp(groupHead+recordHead+uint64(len(p.stream)+len(p.images)*unitSize), unitSize)
}

// putObject writes down the difference between an object's states.
func (p *plan) putObject(po *planObject) {
	base, cur := po.base, po.cur
	if base != nil && (cur == nil || cur.nid != base.nid) {
		for i, s := range base.shards {
			if s != nil {
				p.deleteRow(appendKey12(p.key[:0], keyShard, base.nid, uint32(i)))
			}
		}
		p.putXattrs(base.nid, base.xattrs, nil)
		base = nil
		if cur == nil {
			p.deleteRow(appendObjectKey(p.key[:0], po.o.id))
		}
	}
	if cur == nil {
		return
	}
	if base == nil {
		base = &onode{}
	}
	for i := range max(len(base.shards), len(cur.shards)) {
		old, now := base.shardAt(uint32(i)), cur.shardAt(uint32(i))
		if old == now {
			continue
		}
		p.key = appendKey12(p.key[:0], keyShard, cur.nid, uint32(i))
		if now == nil {
			p.deleteRow(p.key)
		} else {
			p.value = appendShard(p.value[:0], now)
			p.stream = appendPut(p.stream, p.key, p.value)
		}
	}
	p.putXattrs(cur.nid, base.xattrs, cur)
	p.key = appendObjectKey(p.key[:0], po.o.id)
	p.value = appendOnode(p.value[:0], cur)
	p.stream = appendPut(p.stream, p.key, p.value)
}

func (p *plan) deleteRow(key []byte) {
	p.key = key
	p.stream = appendDelete(p.stream, key)
}

// putXattrs writes down the rows of large xattrs that changed; cur is nil
// when the object is gone.
func (p *plan) putXattrs(nid uint64, old []wire.KV, cur *onode) {
	was := (&onode{}).largeXattr()
	for _, kv := range old {
		if !was(kv) {
			continue
		}
		if cur != nil && cur.hasLarge(kv.Key) {
			continue
		}
		p.deleteRow(appendXattrKey(p.key[:0], nid, kv.Key))
	}
	if cur == nil {
		return
	}
	is := cur.largeXattr()
	for _, kv := range cur.xattrs {
		if !is(kv) || sameRow(old, kv) {
			continue
		}
		p.key = appendXattrKey(p.key[:0], nid, kv.Key)
		p.stream = appendPut(p.stream, p.key, kv.Value)
	}
}

// hasLarge reports whether the xattr has a row of its own.
func (n *onode) hasLarge(name string) bool {
	is := n.largeXattr()
	for _, kv := range n.xattrs {
		if is(kv) && kv.Key == name {
			return true
		}
	}
	return false
}

// sameRow reports whether old has the very same value in a row of its own.
func sameRow(old []wire.KV, kv wire.KV) bool {
	was := (&onode{}).largeXattr()
	for _, o := range old {
		large := was(o)
		if o.Key == kv.Key {
			return large && len(o.Value) == len(kv.Value) && len(o.Value) > 0 && &o.Value[0] == &kv.Value[0]
		}
	}
	return false
}

func (p *plan) putFamily(pf *planFamily) {
	if len(pf.refs) == 0 {
		return
	}
	shards := make([]uint32, 0, len(pf.refs))
	for i := range pf.refs {
		shards = append(shards, i)
	}
	slices.Sort(shards)
	for _, i := range shards {
		p.key = appendKey12(p.key[:0], keyRefs, pf.f.id, i)
		if refs := pf.refs[i]; len(refs) == 0 {
			p.stream = appendDelete(p.stream, p.key)
		} else {
			p.value = appendRefs(p.value[:0], refs)
			p.stream = appendPut(p.stream, p.key, p.value)
		}
	}
}

// zigzag makes small numbers of either sign small.
func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
