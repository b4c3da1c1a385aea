package pg

import (
	"math/bits"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// splitBatch bounds the bytes of rows in one transaction of a split, but for
// the one that decides, which has the whole log of the PG.
const splitBatch = 256 << 10

// splitBits is how many low bits of a hash say whether an object is in a PG.
func splitBits(pgNum, seed uint32) int {
	p := clustermap.Pool{PGNum: pgNum}
	return p.SplitBits(seed)
}

// sameInterval reports whether a map has the PG as the one before it had: a
// pg_num that leaves this PG its objects makes no new interval.
func (c *Core) sameInterval(to *Interval) bool {
	return c.interval.same(to) && c.samePart(to.PGNum)
}

func (c *Core) samePart(pgNum uint32) bool {
	return splitBits(c.interval.PGNum, c.id.Seed) == splitBits(pgNum, c.id.Seed)
}

// noteSplit notes, in a new interval, whether the rows are to be divided.
func (c *Core) noteSplit() {
	if !c.interval.Exists || c.retired {
		return
	}
	n := c.interval.PGNum
	if c.divided == 0 {
		c.divided = n
	}
	c.splitting = c.foreign || c.divided < n && splitBits(c.divided, c.id.Seed) != splitBits(n, c.id.Seed)
	if !c.splitting && c.divided < n {
		c.divided = n
	}
}

// Splitting reports whether the PG waits for its rows to be divided.
func (c *Core) Splitting() bool { return c.splitting && !c.retired }

// Divided is the pg_num that says which objects belong to this copy.
func (c *Core) Divided() uint32 {
	if c.divided == 0 {
		return c.interval.PGNum
	}
	return c.divided
}

// Split is the division of a PG's rows among it and the PGs that a larger
// pg_num has made of it. Objects stay where they are.
//
// All PGs get the same versions: entries of objects that went to another one
// become results without a request. So what is said of a log before the split
// is true of each part's.
//
// The rows of the new PGs are written first; nobody looks at them. Then one
// transaction has the new PGs begin and the old one end with what it keeps.
// Rows of the old one that are moved and not in its log go last: its history
// says that there are some (foreign). After a crash Run does what is left.
type Split struct {
	id       wire.SPGID
	from, to uint32
	children []wire.SPGID
	created  wire.Epoch
	tail     wire.EVersion
	standing standing     // as the old PG will have it
	whole    wire.HObject // how far the old PG was whole
	missing  missingSet
	total    Stats
	own      []Entry // the old PG's log after it
	parts    map[uint32]Stats

	txn  store.Txn
	size int
}

// Split begins to divide the rows. Until Finish nothing is changed here; nil:
// there is nothing to be divided, or not everything is on stable storage
// (Effects.Split says when).
func (c *Core) Split() *Split {
	if !c.Splitting() || !c.settled() {
		return nil
	}
	s := &Split{id: c.id, from: c.divided, to: max(c.divided, c.interval.PGNum), created: c.history.Created, tail: c.log.tail,
		standing: c.standing, whole: c.backfilled, missing: missingSet{}, total: c.log.stats}
	for o, m := range c.missing {
		s.missing[o] = m
	}
	old := clustermap.Pool{PGNum: s.from}
	for seed := s.from; seed < s.to; seed++ {
		if old.Seed(seed) == s.id.Seed {
			s.children = append(s.children, wire.SPGID{PGID: wire.PGID{Pool: s.id.Pool, Seed: seed}, Shard: s.id.Shard})
		}
	}
	s.standing.divided = s.to
	s.standing.backfilled = s.cursor(s.id.Seed)
	return s
}

// To is the pg_num by which the PG is divided.
func (s *Split) To() uint32 { return s.to }

// Children are the new PGs.
func (s *Split) Children() []wire.SPGID { return s.children }

// cursor is how far a part is whole.
func (s *Split) cursor(seed uint32) wire.HObject {
	at := s.whole
	next := uint64(bits.Reverse32(seed)) + 1<<(32-splitBits(s.to, seed))
	if next < 1<<32 && at.Compare(wire.HObject{Pool: s.id.Pool, Hash: bits.Reverse32(uint32(next))}) >= 0 {
		return wire.MaxHObject
	}
	return at
}

func (s *Split) part(o wire.HObject) uint32 {
	p := clustermap.Pool{PGNum: s.to}
	return p.Seed(o.Hash)
}

// SplitIO is what a split needs of the OSD.
type SplitIO struct {
	Rows Rows
	// Count counts the objects of each part that are here.
	Count func() (map[uint32]Stats, error)
	// Began adds to t what says that there is a new PG.
	Began func(child wire.SPGID, t *store.Txn)
	// Commit makes a transaction durable.
	Commit func(t *store.Txn) error
}

// Run divides the rows. Nothing else changes rows of the PG meanwhile.
func (s *Split) Run(io SplitIO) error {
	if len(s.children) > 0 {
		if err := s.divide(io); err != nil {
			return wire.Wrap("split pg", s.id.String(), err)
		}
	}
	if s.standing.foreign {
		if err := s.clear(io); err != nil {
			return wire.Wrap("remove moved rows of pg", s.id.String(), err)
		}
	}
	return nil
}

func (s *Split) divide(io SplitIO) error {
	entries, err := ReadLog(io.Rows, s.id, wire.EVersion{})
	if err == nil {
		err = s.count(io)
	}
	if err != nil {
		return err
	}
	for _, child := range s.children {
		s.txn.MetaRmRange(child, "", "\xff")
	}
	for _, child := range s.children {
		log := s.relog(child.Seed, entries)
		for i := range log {
			if err := s.put(io, child, wire.KV{Key: LogRow(log[i].Version), Value: log[i].Encode()}); err != nil {
				return err
			}
		}
	}
	for _, m := range s.missing.list() {
		if seed := s.part(m.Object); seed != s.id.Seed {
			s.standing.foreign = true
			if err := s.put(io, s.childOf(seed), wire.KV{Key: missingRow(m.Object), Value: m.encode()}); err != nil {
				return err
			}
		}
	}
	err = s.eachForeign(io, rowSnap, func(seed uint32, kv wire.KV) error {
		s.standing.foreign = true
		return s.put(io, s.childOf(seed), kv)
	})
	if err != nil {
		return err
	}
	return s.decide(io, entries)
}

func (s *Split) childOf(seed uint32) wire.SPGID {
	return wire.SPGID{PGID: wire.PGID{Pool: s.id.Pool, Seed: seed}, Shard: s.id.Shard}
}

// put adds a row of a new PG.
func (s *Split) put(io SplitIO, child wire.SPGID, kv wire.KV) error {
	s.txn.MetaSet(child, kv)
	return s.grown(io, len(kv.Key)+len(kv.Value))
}

func (s *Split) grown(io SplitIO, n int) error {
	if s.size += n; s.size < splitBatch {
		return nil
	}
	return s.flush(io)
}

func (s *Split) flush(io SplitIO) error {
	t := s.txn
	s.txn, s.size = store.Txn{}, 0
	if len(t.Ops) == 0 {
		return nil
	}
	return io.Commit(&t)
}

// decide is the transaction with which the parts begin.
func (s *Split) decide(io SplitIO, entries []Entry) error {
	s.own = s.relog(s.id.Seed, entries)
	for i := range s.own {
		s.txn.MetaSet(s.id, wire.KV{Key: LogRow(s.own[i].Version), Value: s.own[i].Encode()})
	}
	s.txn.MetaSet(s.id, wire.KV{Key: RowHistory, Value: s.standing.encode()})
	for _, child := range s.children {
		st := s.standing
		st.backfilled = s.cursor(child.Seed)
		st.since, st.led, st.foreign, st.upThru = 0, 0, false, false
		// It counts if the old PG's interval may have begun before this map.
		st.interval = Interval{Primary: -1}
		if s.standing.upThru {
			st.interval.Primary = skipped
		}
		s.txn.MetaSet(child, wire.KV{Key: RowInfo, Value: encodeInfo(s.created, s.tail)},
			wire.KV{Key: RowHistory, Value: st.encode()})
		io.Began(child, &s.txn)
	}
	return s.flush(io)
}

// eachForeign visits the rows of a letter whose objects belong to other parts;
// their values begin with the object's head.
func (s *Split) eachForeign(io SplitIO, letter string, fn func(seed uint32, kv wire.KV) error) error {
	for first := letter; ; {
		kvs, more, err := io.Rows.MetaList(s.id, first, rowEnd(letter), loadRows)
		if err != nil {
			return err
		}
		for _, kv := range kvs {
			var o wire.HObject
			if letter == rowSnap {
				o, err = DecodeSnapRow(kv.Value)
			} else {
				var m Missing
				m, err = decodeMissing(kv.Value)
				o = m.Object
			}
			if err != nil {
				return err
			}
			if seed := s.part(o); seed != s.id.Seed {
				if err := fn(seed, kv); err != nil {
					return err
				}
			}
		}
		if !more || len(kvs) == 0 {
			return nil
		}
		first = kvs[len(kvs)-1].Key + "\x00"
	}
}

// clear removes the rows that other parts have got.
func (s *Split) clear(io SplitIO) error {
	for _, letter := range []string{rowMissing, rowSnap} {
		err := s.eachForeign(io, letter, func(_ uint32, kv wire.KV) error {
			s.txn.MetaRm(s.id, kv.Key)
			return s.grown(io, len(kv.Key))
		})
		if err != nil {
			return err
		}
	}
	s.standing.foreign = false
	s.txn.MetaSet(s.id, wire.KV{Key: RowHistory, Value: s.standing.encode()})
	return s.flush(io)
}

// relog gives a part's log.
func (s *Split) relog(seed uint32, entries []Entry) []Entry {
	out := make([]Entry, len(entries))
	stats := s.parts[seed]
	for i := len(entries) - 1; i >= 0; i-- {
		e := &entries[i]
		mine := s.part(e.Object) == seed
		if mine {
			out[i] = *e
		} else {
			out[i] = Entry{Kind: KindResult, Version: e.Version}
		}
		out[i].Stats = stats
		if mine && i > 0 {
			before := entries[i-1].Stats
			stats = stats.Add(Stats{before.Objects - e.Stats.Objects, before.Clones - e.Stats.Clones, before.Bytes - e.Stats.Bytes})
		}
	}
	return out
}

// count finds what each part holds. Of a copy that is not whole only the sum
// is exact, what lacks is the old PG's, until it is counted again (Recount).
func (s *Split) count(io SplitIO) (err error) {
	if s.parts, err = io.Count(); err != nil {
		return err
	}
	if len(s.missing) == 0 && s.whole.Max {
		return nil
	}
	s.standing.approximate = true
	rest := s.total
	for _, child := range s.children {
		n := s.parts[child.Seed]
		rest = rest.Add(Stats{-n.Objects, -n.Clones, -n.Bytes})
	}
	s.parts[s.id.Seed] = Stats{max(rest.Objects, 0), max(rest.Clones, 0), max(rest.Bytes, 0)}
	return nil
}

// Inexact reports whether the objects are to be counted: the PG is clean, and
// was split when it was not. The count holds at version v, of which there is
// an entry.
func (c *Core) Inexact() (v wire.EVersion, ok bool) {
	return c.log.head(), c.approximate && c.Clean() && c.InFlight() == 0 && c.log.len() > 0
}

// Recount takes over what was counted, if no write came since; newest is the
// entry of version v.
func (c *Core) Recount(newest Entry, counted Stats, f *Effects) {
	if v, ok := c.Inexact(); !ok || v != newest.Version {
		return
	}
	newest.Stats, c.log.stats, c.approximate = counted, counted, false
	f.Txn.MetaSet(c.id, wire.KV{Key: LogRow(newest.Version), Value: newest.Encode()})
	c.putStanding(&f.Txn)
	c.persist(f, durable{})
}

// Finish takes over what Run has done. The new PGs are loaded from their rows.
func (c *Core) Finish(s *Split, f *Effects) {
	if !c.splitting {
		return
	}
	if len(s.children) > 0 {
		tail := c.log.tail
		c.log.restart(tail)
		for i := range s.own {
			c.log.append(&s.own[i])
		}
		c.log.stats = s.parts[c.id.Seed]
		c.backfilled = s.standing.backfilled
		c.divided = s.to
		c.approximate = s.standing.approximate
	}
	for o := range c.missing {
		if s.part(o) != c.id.Seed {
			delete(c.missing, o)
		}
	}
	c.foreign, c.splitting = false, false
	c.step(f)
}
