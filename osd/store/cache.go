package store

import (
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// object is a cache entry: an object's newest state, planned or stored. It is
// the truth for reads; the index may be behind it as long as last is set.
type object struct {
	id     ObjectID
	cur    *onode        // nil: absent
	loaded chan struct{} // not nil while somebody loads it; closed after
	err    error         // of loading
	users  int           // who must find it here again
	last   *txn          // newest transaction not yet in the index
	omap   *txn          // as last, of those that touched the omap
	mem    int

	prev, next *object // LRU, most recent first
}

// family is the reference counts of the units that an object and its clones
// share. A unit lies at the same logical place in each of them, so the counts
// are kept by logical shard.
type family struct {
	id     uint64
	refs   map[uint32][]unitRefs // slices never change once planned
	loaded chan struct{}
	err    error
	users  int
	last   *txn
}

// maxFamilies is how many families stay in the cache beyond those in use.
const maxFamilies = 512

// count is how many objects own a unit marked shared.
func (f *family) count(refs []unitRefs, unit uint64) (int, uint32) {
	i, ok := slices.BinarySearchFunc(refs, unit, func(r unitRefs, u uint64) int {
		if r.unit < u {
			return -1
		} else if r.unit > u {
			return 1
		}
		return 0
	})
	if !ok {
		return i, 1
	}
	return i, refs[i].count
}

// objectMem is what an entry costs beside its onode, in bytes.
const objectMem = 200

// entry gives the cache entry of an object with one more user. It may still
// have to be loaded: then somebody else is at it, or mine says the caller has
// to. s.mu is held.
func (s *Store) entry(id ObjectID) (o *object, mine bool) {
	if id.Key != "" && id.Key == id.Name {
		id.Key = ""
	}
	o = s.objects[id]
	if o == nil {
		s.m.CacheMisses.Add(1)
		o = &object{id: id, loaded: make(chan struct{})}
		s.objects[id] = o
		o.prev, o.next = &s.lru, s.lru.next
		o.prev.next, o.next.prev = o, o
		s.charge(o)
		mine = true
	} else {
		s.m.CacheHits.Add(1)
		if s.lru.next != o {
			o.prev.next, o.next.prev = o.next, o.prev
			o.prev, o.next = &s.lru, s.lru.next
			o.prev.next, o.next.prev = o, o
		}
	}
	o.users++
	return o, mine
}

// charge brings the cache's size up to date with o. s.mu is held.
func (s *Store) charge(o *object) {
	m := objectMem + len(o.id.Name) + o.cur.mem()
	s.cacheMem += m - o.mem
	o.mem = m
}

// leave gives up one use of o. s.mu is held.
func (s *Store) leave(o *object) {
	if o.users--; o.users < 0 {
		panic("store: cache entry left twice: " + o.id.String())
	}
	if o.err != nil && o.users == 0 {
		s.forget(o)
	}
	s.shrink()
}

func (s *Store) forget(o *object) {
	if s.objects[o.id] == o {
		delete(s.objects, o.id)
		o.prev.next, o.next.prev = o.next, o.prev
		s.cacheMem -= o.mem
	}
}

// shrinkTries bounds how many entries in use one call looks past.
const shrinkTries = 16

// shrink drops the oldest entries that nobody uses until the cache is within
// its bound. s.mu is held.
func (s *Store) shrink() {
	tries := shrinkTries
	for o := s.lru.prev; o != &s.lru && s.cacheMem > s.o.onodeMem() && tries > 0; {
		prev := o.prev
		if o.users == 0 && o.last == nil {
			s.forget(o)
		} else {
			tries--
		}
		o = prev
	}
}

// load fills an entry that entry said was the caller's to load, or waits for
// whoever does. Without s.mu.
func (s *Store) load(o *object, mine bool) error {
	if !mine {
		s.mu.Lock()
		ch := o.loaded
		s.mu.Unlock()
		if ch != nil {
			<-ch
		}
		return o.err
	}
	n, err := s.loadOnode(o.id)
	s.mu.Lock()
	o.cur, o.err = n, err
	s.charge(o)
	ch := o.loaded
	o.loaded = nil
	s.mu.Unlock()
	close(ch)
	return err
}

// damaged reports a row that isn't what was put there.
func damaged(what string) error { return wire.Errorf("store.load", what, wire.EIO) }

func (s *Store) loadOnode(id ObjectID) (*onode, error) {
	var kb [256]byte
	v, err := s.db.Get(appendObjectKey(kb[:0], id), nil)
	if wire.ErrnoOf(err) == wire.ENOENT {
		return nil, nil
	} else if err != nil {
		return nil, wire.Wrap("store.load", id.String(), err)
	}
	n, shards, large, ok := decodeOnode(v)
	if !ok {
		return nil, damaged("onode of " + id.String())
	}
	if err := s.loadShards(n, shards); err != nil {
		return nil, wire.Wrap("store.load", id.String(), err)
	}
	if large {
		if err := s.loadXattrs(n); err != nil {
			return nil, wire.Wrap("store.load", id.String(), err)
		}
	}
	return n, nil
}

// fewShards is up to how many shards are looked up one by one.
const fewShards = 3

func (s *Store) loadShards(n *onode, shards []uint32) error {
	if len(shards) == 0 {
		return nil
	}
	n.shards = make([]*shard, shards[len(shards)-1]+1)
	if len(shards) <= fewShards {
		for _, i := range shards {
			var kb [16]byte
			v, err := s.db.Get(appendKey12(kb[:0], keyShard, n.nid, i), nil)
			if err != nil {
				return wire.Wrap("extent shard", "", err)
			}
			var ok bool
			if n.shards[i], ok = decodeShard(v); !ok {
				return damaged("extent shard")
			}
		}
		return nil
	}
	it := s.db.NewIter(appendKey8(nil, keyShard, n.nid), appendKey8(nil, keyShard, n.nid+1))
	defer it.Close()
	found := 0
	for it.Next() {
		_, i, ok := parseKey12(it.Key(), keyShard)
		if !ok || int(i) >= len(n.shards) {
			return damaged("extent shard")
		}
		if n.shards[i], ok = decodeShard(it.Value()); !ok {
			return damaged("extent shard")
		}
		found++
	}
	if err := it.Err(); err != nil {
		return err
	}
	if found != len(shards) {
		return damaged("extent shards: some are missing")
	}
	return nil
}

func (s *Store) loadXattrs(n *onode) error {
	it := s.db.NewIter(appendKey8(nil, keyXattr, n.nid), appendKey8(nil, keyXattr, n.nid+1))
	defer it.Close()
	total := 0
	for it.Next() {
		v := it.Value()
		if total += len(v); total > 2*MaxXattrs {
			return damaged("xattr rows")
		}
		n.xattrs = append(n.xattrs, wire.KV{Key: string(it.Key()[9:]), Value: slices.Clone(v)})
	}
	slices.SortFunc(n.xattrs, func(a, b wire.KV) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return it.Err()
}

// familyEntry is as entry, for families. s.mu is held.
func (s *Store) familyEntry(id uint64) (f *family, mine bool) {
	f = s.families[id]
	if f == nil {
		s.shrinkFamilies()
		f = &family{id: id, loaded: make(chan struct{})}
		s.families[id] = f
		mine = true
	}
	f.users++
	return f, mine
}

func (s *Store) shrinkFamilies() {
	for id, f := range s.families {
		if len(s.families) < maxFamilies {
			return
		}
		if f.users == 0 && f.last == nil {
			delete(s.families, id)
		}
	}
}

func (s *Store) leaveFamily(f *family) {
	f.users--
	if f.users == 0 && f.err != nil {
		delete(s.families, f.id)
	}
}

// loadFamily is as load, for families. Without s.mu.
func (s *Store) loadFamily(f *family, mine bool) error {
	if !mine {
		s.mu.Lock()
		ch := f.loaded
		s.mu.Unlock()
		if ch != nil {
			<-ch
		}
		return f.err
	}
	refs := map[uint32][]unitRefs{}
	err := s.eachRefs(appendKey8(nil, keyRefs, f.id), appendKey8(nil, keyRefs, f.id+1),
		func(_ uint64, shard uint32, r []unitRefs) { refs[shard] = r })
	s.mu.Lock()
	f.refs, f.err = refs, err
	ch := f.loaded
	f.loaded = nil
	s.mu.Unlock()
	close(ch)
	return err
}

func (s *Store) eachRefs(first, end []byte, f func(fam uint64, shard uint32, r []unitRefs)) error {
	it := s.db.NewIter(first, end)
	defer it.Close()
	for it.Next() {
		id, shard, ok := parseKey12(it.Key(), keyRefs)
		if !ok {
			return damaged("reference counts")
		}
		r, ok := decodeRefs(it.Value())
		if !ok {
			return damaged("reference counts")
		}
		f(id, shard, r)
	}
	return it.Err()
}
