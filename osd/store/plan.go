package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// A plan turns a logical transaction into a record: it works out the new
// states of the objects, takes units, makes block images and writes the
// changes of the index down. It runs under Store.mu and does no I/O. When it
// meets something that must be read first it says what, gives everything
// back, and is run again once that was fetched. Nothing is visible until
// publish; so a transaction that fails leaves no trace.
type plan struct {
	s  *Store
	t  *Txn
	id uint64 // what this run makes is marked with it

	objs    []planObject
	fams    []planFamily
	stream  []byte
	allocs  []run
	frees   []run
	images  []*image
	metaPGs []wire.SPGID
	omaps   []*object

	large  []largeWrite // data that lies on the disk already
	blocks []block      // fetched for read-modify-write
	small  stream       // where small allocation stood before this run
	failed block        // could not be fetched once; without buf
	force  bool         // may use the reserve

	objects int64  // more than before
	idLimit uint64 // ids below it are the store's to give out, once published

	need struct {
		object *object
		family *family
		mine   bool
		block  block
		region uint32
		what   needKind
	}
	key, value []byte // scratch
}

type needKind uint8

const (
	needObject needKind = 1 + iota
	needFamily
	needBlock
	needRegion
	needGrowth
)

// errNeeds stops a run of a plan: see plan.need.
var errNeeds = errors.New("store: plan needs something fetched")

type planObject struct {
	o       *object
	base    *onode // before the transaction
	cur     *onode
	changed bool
}

type planFamily struct {
	f       *family
	refs    map[uint32][]unitRefs // changed ones
	created bool
}

// block is the verified content of a unit.
type block struct {
	unit uint64
	crc  uint32
	buf  *wire.Buf
}

// reset prepares another run. s.mu is held.
func (p *plan) reset() {
	p.s.planID++
	p.id = p.s.planID
	p.small = p.s.alloc.small
	for i := range p.objs {
		po := &p.objs[i]
		po.base, po.cur, po.changed = po.o.cur, po.o.cur, false
	}
	for i := range p.fams {
		p.fams[i].refs = nil
	}
	p.stream = p.stream[:0]
	p.allocs, p.frees = p.allocs[:0], p.frees[:0]
	p.metaPGs, p.omaps = p.metaPGs[:0], p.omaps[:0]
	p.need.what = 0
}

// undo gives back what a run that failed took. s.mu is held.
func (p *plan) undo() {
	p.s.alloc.giveBack(p.allocs)
	p.allocs = p.allocs[:0]
	if p.need.what != needRegion {
		p.s.alloc.small = p.small // so that the next run takes the same units
	}
	for _, im := range p.images {
		im.buf.Release()
	}
	p.images = p.images[:0]
	// A family made in this run has no rows and may not stay.
	for i := len(p.fams) - 1; i >= 0; i-- {
		if f := p.fams[i]; f.created {
			delete(p.s.families, f.f.id)
			p.fams = slices.Delete(p.fams, i, i+1)
		}
	}
}

// run does all steps once. s.mu is held.
func (p *plan) run() error {
	p.reset()
	for i := range p.t.Ops {
		if err := p.step(i, &p.t.Ops[i]); err != nil {
			return err
		}
	}
	return p.finish()
}

func (p *plan) step(i int, op *Op) error {
	switch op.Kind {
	case OpMetaSet, OpMetaRm, OpMetaRmRange:
		p.meta(op)
		return nil
	case OpClone:
		return p.clone(op)
	}
	po, err := p.object(op.Object)
	if err != nil {
		return err
	}
	switch op.Kind {
	case OpRemove:
		return p.remove(po)
	case OpTouch, OpWrite, OpTruncate, OpSetXattrs, OpOmapSet, OpOmapHeader:
		p.make(po)
	default:
		if po.cur == nil {
			return nil
		}
		p.change(po)
	}
	n := po.cur
	switch op.Kind {
	case OpWrite:
		return p.write(n, i, op)
	case OpZero:
		return p.zero(n, op.Off, op.Len)
	case OpTruncate:
		return p.truncate(n, op.Off)
	case OpSetXattrs:
		return p.setXattrs(po, op.KVs)
	case OpRmXattr:
		if i, ok := n.xattr(op.Name); ok {
			n.xattrs = slices.Delete(slices.Clone(n.xattrs), i, i+1)
		}
	case OpOmapSet, OpOmapRm, OpOmapRmRange, OpOmapClear, OpOmapHeader:
		p.omapStep(po, op)
	}
	return nil
}

// object finds or fetches the object among those of the transaction.
func (p *plan) object(id ObjectID) (*planObject, error) {
	if id.Key != "" && id.Key == id.Name {
		id.Key = ""
	}
	for i := range p.objs {
		if p.objs[i].o.id == id {
			return &p.objs[i], nil
		}
	}
	o, mine := p.s.entry(id)
	p.objs = append(p.objs, planObject{o: o, base: o.cur, cur: o.cur})
	if o.loaded != nil {
		p.need.what, p.need.object, p.need.mine = needObject, o, mine
		return nil, errNeeds
	}
	if o.err != nil {
		return nil, o.err
	}
	return &p.objs[len(p.objs)-1], nil
}

// make lets the object exist and be changed.
func (p *plan) make(po *planObject) {
	if po.cur == nil {
		po.cur = &onode{owner: p.id, nid: p.s.newID(), inline: []byte{}}
		po.changed = true
		return
	}
	p.change(po)
}

// change gives the object an onode that this plan may write to.
func (p *plan) change(po *planObject) {
	if po.cur.owner == p.id {
		return
	}
	n := *po.cur
	n.owner = p.id
	n.shards = slices.Clone(n.shards)
	po.cur, po.changed = &n, true
}

// shardFor gives a shard that this plan may write to.
func (p *plan) shardFor(n *onode, i uint32) *shard {
	for int(i) >= len(n.shards) {
		n.shards = append(n.shards, nil)
	}
	s := n.shards[i]
	switch {
	case s == nil:
		s = &shard{owner: p.id}
	case s.owner != p.id:
		c := *s
		c.owner = p.id
		s = &c
	}
	n.shards[i] = s
	return s
}

func (p *plan) family(id uint64) (*planFamily, error) {
	for i := range p.fams {
		if p.fams[i].f.id == id {
			return &p.fams[i], nil
		}
	}
	f, mine := p.s.familyEntry(id)
	p.fams = append(p.fams, planFamily{f: f})
	if f.loaded != nil {
		p.need.what, p.need.family, p.need.mine = needFamily, f, mine
		return nil, errNeeds
	}
	if f.err != nil {
		return nil, f.err
	}
	return &p.fams[len(p.fams)-1], nil
}

// newFamily makes an empty family.
func (p *plan) newFamily() *planFamily {
	f := &family{id: p.s.newID(), refs: map[uint32][]unitRefs{}, users: 1}
	p.s.families[f.id] = f
	p.fams = append(p.fams, planFamily{f: f, created: true})
	return &p.fams[len(p.fams)-1]
}

// of gives the counts of a logical shard.
func (pf *planFamily) of(shard uint32) []unitRefs {
	if r, ok := pf.refs[shard]; ok {
		return r
	}
	return pf.f.refs[shard]
}

// set replaces the counts of a logical shard.
func (pf *planFamily) set(shard uint32, refs []unitRefs) {
	if pf.refs == nil {
		pf.refs = map[uint32][]unitRefs{}
	}
	pf.refs[shard] = refs
}

// free lets go of the unit of a cell: of the object's share of it, if others
// own it as well.
func (p *plan) free(n *onode, shard uint32, cell uint64) error {
	unit := cell &^ cellShared
	if cell&cellShared != 0 {
		pf, err := p.family(n.family)
		if err != nil {
			return err
		}
		refs := pf.of(shard)
		if i, count := pf.f.count(refs, unit); count > 1 {
			refs = slices.Clone(refs)
			if refs[i].count--; refs[i].count < 2 {
				refs = slices.Delete(refs, i, i+1)
			}
			pf.set(shard, refs)
			return nil
		}
	}
	p.frees = appendRun(p.frees, run{unit, 1})
	for i, im := range p.images {
		if im.unit == unit {
			im.buf.Release()
			p.images = slices.Delete(p.images, i, i+1)
			break
		}
	}
	return nil
}

// alone reports whether nobody else owns the unit of the cell.
func (p *plan) alone(n *onode, shard uint32, cell uint64) (bool, error) {
	if cell&cellShared == 0 {
		return true, nil
	}
	pf, err := p.family(n.family)
	if err != nil {
		return false, err
	}
	_, count := pf.f.count(pf.of(shard), cell&^cellShared)
	return count == 1, nil
}

// takeUnits reserves units of a stream and notes them as allocated.
func (p *plan) takeUnits(n uint64) ([]run, error) {
	s := p.s
	if err := s.room(n, p.force); err != nil {
		return nil, err
	}
	if n > s.alloc.free {
		p.need.what = needGrowth
		return nil, errNeeds
	}
	start := len(p.allocs)
	out, region, needs, ok := s.alloc.take(&s.alloc.small, &s.alloc.large, n, p.allocs)
	p.allocs = out
	switch {
	case needs:
		p.need.what, p.need.region = needRegion, region
		return nil, errNeeds
	case !ok:
		return nil, s.noSpace()
	}
	return out[start:], nil
}

// remove takes all that the object has away.
func (p *plan) remove(po *planObject) error {
	n := po.cur
	if n == nil {
		return nil
	}
	for i, s := range n.shards {
		if s == nil {
			continue
		}
		for _, c := range s.cell {
			if c == 0 {
				continue
			}
			if err := p.free(n, uint32(i), c); err != nil {
				return err
			}
		}
	}
	if n.omap != 0 {
		p.stream = appendNumbers(p.stream, recDropOmap, n.omap)
		p.omaps = append(p.omaps, po.o)
	}
	po.cur, po.changed = nil, true
	return nil
}

// clone makes the destination an equal of the source.
func (p *plan) clone(op *Op) error {
	if _, err := p.object(op.Dst); err != nil {
		return err
	}
	src, err := p.object(op.Object)
	if err != nil {
		return err
	}
	if src.cur == nil {
		return wire.Errorf("store.clone", op.Object.String(), wire.ENOENT)
	}
	dst, _ := p.object(op.Dst) // there since above; asked again because p.objs may have moved
	if err := p.remove(dst); err != nil {
		return err
	}
	n := *src.cur
	n.owner, n.nid, n.omap = p.id, p.s.newID(), 0
	n.shards = nil
	dst.cur, dst.changed = &n, true
	if err := p.shareShards(src, &n); err != nil {
		return err
	}
	if from := src.cur.omap; from != 0 {
		n.omap = p.s.newID()
		p.stream = appendNumbers(p.stream, recCopyOmap, from, n.omap)
		p.omaps = append(p.omaps, dst.o, src.o)
	}
	return nil
}

// shareShards gives dst the extents of src and counts the owners.
func (p *plan) shareShards(src *planObject, dst *onode) error {
	if !slices.ContainsFunc(src.cur.shards, func(s *shard) bool { return s != nil }) {
		return nil
	}
	p.change(src)
	var pf *planFamily
	if src.cur.family == 0 {
		pf = p.newFamily()
		src.cur.family = pf.f.id
	} else {
		var err error
		if pf, err = p.family(src.cur.family); err != nil {
			return err
		}
	}
	dst.family = src.cur.family
	dst.shards = make([]*shard, len(src.cur.shards))
	for i, s := range src.cur.shards {
		if s == nil {
			continue
		}
		refs := slices.Clone(pf.of(uint32(i)))
		changed := false
		for _, c := range s.cell {
			if c == 0 {
				continue
			}
			changed = changed || c&cellShared == 0
			at, count := pf.f.count(refs, c&^cellShared)
			if count == 1 {
				refs = slices.Insert(refs, at, unitRefs{c &^ cellShared, 1})
			}
			refs[at].count++
		}
		pf.set(uint32(i), refs)
		if changed {
			s = p.shardFor(src.cur, uint32(i))
			for j, c := range s.cell {
				if c != 0 {
					s.cell[j] |= cellShared
				}
			}
		}
		d := *s
		d.owner = p.id
		dst.shards[i] = &d
	}
	return nil
}

func (p *plan) setXattrs(po *planObject, kvs []wire.KV) error {
	n := po.cur
	n.xattrs = slices.Clone(n.xattrs)
	for _, kv := range kvs {
		// The caller's memory is its own again after done.
		kv.Value = slices.Clone(kv.Value)
		if i, ok := n.xattr(kv.Key); ok {
			n.xattrs[i] = kv
		} else {
			n.xattrs = slices.Insert(n.xattrs, i, kv)
		}
	}
	total := 0
	for _, kv := range n.xattrs {
		total += len(kv.Key) + len(kv.Value)
	}
	if total > MaxXattrs {
		return wire.Errorf("store.setxattr", po.o.id.String()+": all together", wire.EFBIG)
	}
	return nil
}

func (p *plan) omapStep(po *planObject, op *Op) {
	n := po.cur
	if n.omap == 0 {
		if op.Kind != OpOmapSet && op.Kind != OpOmapHeader {
			return
		}
		n.omap = p.s.newID()
	}
	p.omaps = append(p.omaps, po.o)
	switch op.Kind {
	case OpOmapSet:
		for i := range op.KVs {
			p.key = appendOmapKey(p.key[:0], n.omap, op.KVs[i].Key)
			p.stream = appendPut(p.stream, p.key, op.KVs[i].Value)
		}
	case OpOmapRm:
		for _, k := range op.Keys {
			p.key = appendOmapKey(p.key[:0], n.omap, k)
			p.stream = appendDelete(p.stream, p.key)
		}
	case OpOmapRmRange:
		p.appendRange(appendOmapKey(nil, n.omap, op.Name), appendOmapKey(nil, n.omap, op.Name2))
	case OpOmapHeader:
		p.key = appendOmapHeader(p.key[:0], n.omap)
		p.stream = appendPut(p.stream, p.key, op.Value)
	case OpOmapClear:
		p.stream = appendNumbers(p.stream, recDropOmap, n.omap)
		n.omap = 0
	}
}

func (p *plan) appendRange(first, end []byte) {
	if slices.Compare(first, end) < 0 {
		p.stream = appendRange(p.stream, first, end)
	}
}

func (p *plan) meta(op *Op) {
	if !slices.Contains(p.metaPGs, op.PG) {
		p.metaPGs = append(p.metaPGs, op.PG)
	}
	switch op.Kind {
	case OpMetaSet:
		for i := range op.KVs {
			p.key = appendMetaKey(p.key[:0], op.PG, op.KVs[i].Key)
			p.stream = appendPut(p.stream, p.key, op.KVs[i].Value)
		}
	case OpMetaRm:
		for _, k := range op.Keys {
			p.key = appendMetaKey(p.key[:0], op.PG, k)
			p.stream = appendDelete(p.stream, p.key)
		}
	case OpMetaRmRange:
		p.appendRange(appendMetaKey(nil, op.PG, op.Name), appendMetaKey(nil, op.PG, op.Name2))
	}
}

// String draws the plan, for a broken invariant.
func (p *plan) String() string {
	return fmt.Sprintf("plan %d: %d steps, %d objects, allocs %v, frees %v, %d images", p.id, len(p.t.Ops), len(p.objs), p.allocs, p.frees, len(p.images))
}
