package store

import (
	"strconv"
	"strings"

	"github.com/spirula/spirula/osd/kv"
	"github.com/spirula/spirula/rados/wire"
)

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }

// Rows (omaps, PG rows, the listing of objects) are read from the index
// alone. A read that comes before the index has the newest change waits for
// it: the change is in the log by then or soon, and the index follows within
// a millisecond or two.

// omapID waits until the index has all of the object's omap, and gives the
// omap's id, 0 for none. The caller checks with same, after it took its view
// of the index, that the id is still the one.
func (s *Store) omapID(op string, o ObjectID) (obj *object, id uint64, err error) {
	if obj, err = s.hold(o); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if obj.omap != nil {
		s.m.OmapWaits.Add(1)
	}
	for t := obj.omap; t != nil && !t.applied; {
		if s.dead != nil {
			s.leave(obj)
			return nil, 0, wire.Wrap(op, o.String(), s.dead)
		}
		s.applied.Wait()
	}
	if obj.cur == nil {
		s.leave(obj)
		return nil, 0, wire.Errorf(op, o.String(), wire.ENOENT)
	}
	return obj, obj.cur.omap, nil
}

// same reports whether the object still has that omap.
func (s *Store) same(o *object, id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return o.cur != nil && o.cur.omap == id
}

// omapView calls f with an iterator over the object's omap rows as they are
// at one instant: header and entries.
func (s *Store) omapView(op string, o ObjectID, first func(id uint64) []byte, f func(id uint64, it *kv.Iter) error) error {
	for {
		obj, id, err := s.omapID(op, o)
		if err != nil {
			return err
		}
		if id == 0 {
			s.unhold(obj)
			return nil
		}
		it := s.db.NewIter(first(id), appendOmapEnd(nil, id))
		if !s.same(obj, id) { // cleared or removed before the view was taken
			it.Close()
			s.unhold(obj)
			continue
		}
		err = f(id, it)
		if cerr := it.Close(); err == nil {
			err = cerr
		}
		s.unhold(obj)
		return wire.Wrap(op, o.String(), err)
	}
}

func headerOf(id uint64) []byte { return appendOmapHeader(nil, id) }

// OmapHeader gives the header, empty when never set; ENOENT.
func (s *Store) OmapHeader(o ObjectID) (v []byte, err error) {
	err = s.omapView("store.omapheader", o, headerOf, func(id uint64, it *kv.Iter) error {
		if it.Next() && len(it.Key()) == 10 && it.Key()[9] == 'h' {
			v = append([]byte(nil), it.Value()...)
		}
		return it.Err()
	})
	return v, err
}

// OmapGet gives those of keys that exist, in the order asked, as of one
// instant; ENOENT for the object.
func (s *Store) OmapGet(o ObjectID, keys []string) (kvs []wire.KV, err error) {
	err = s.omapView("store.omapget", o, headerOf, func(id uint64, it *kv.Iter) error {
		var key []byte
		for _, k := range keys {
			key = appendOmapKey(key[:0], id, k)
			if it.Seek(key) && string(it.Key()) == string(key) {
				kvs = append(kvs, wire.KV{Key: k, Value: append([]byte(nil), it.Value()...)})
			}
			if err := it.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	return kvs, err
}

// OmapList gives up to max entries whose key is behind after ("" for the
// first) and begins with prefix, in order, as of one instant; more says that
// there are others. max < 0 is no bound. ENOENT.
func (s *Store) OmapList(o ObjectID, after, prefix string, max int, withValues bool) (kvs []wire.KV, more bool, err error) {
	start := after + "\x00"
	if after == "" {
		start = ""
	}
	start = maxString(start, prefix)
	first := func(id uint64) []byte { return appendOmapKey(nil, id, start) }
	err = s.omapView("store.omaplist", o, first, func(id uint64, it *kv.Iter) error {
		for it.Next() {
			k := it.Key()[omapPrefixLen:]
			if !strings.HasPrefix(string(k), prefix) {
				break
			}
			if max >= 0 && len(kvs) == max {
				more = true
				break
			}
			e := wire.KV{Key: string(k)}
			if withValues {
				e.Value = append([]byte(nil), it.Value()...)
			}
			kvs = append(kvs, e)
		}
		return it.Err()
	})
	return kvs, more, err
}

func maxString(a, b string) string {
	if a > b {
		return a
	}
	return b
}

// settleMeta waits until the index has the newest rows of the PG.
func (s *Store) settleMeta(pg wire.SPGID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := s.meta[pg]; t != nil && !t.applied; {
		if s.dead != nil {
			return wire.Wrap("store.meta", pg.String(), s.dead)
		}
		s.applied.Wait()
	}
	return nil
}

// MetaGet gives one of the PG's own rows; ENOENT.
func (s *Store) MetaGet(pg wire.SPGID, key string) ([]byte, error) {
	if err := s.settleMeta(pg); err != nil {
		return nil, err
	}
	v, err := s.db.Get(appendMetaKey(nil, pg, key), nil)
	return v, wire.Wrap("store.metaget", pg.String()+" "+key, err)
}

// MetaList gives up to max of the PG's own rows with first <= key < end, in
// order; an empty end is no bound, nor is max < 0. more says that there are
// others.
func (s *Store) MetaList(pg wire.SPGID, first, end string, max int) (kvs []wire.KV, more bool, err error) {
	if err := s.settleMeta(pg); err != nil {
		return nil, false, err
	}
	last := appendMetaEnd(nil, pg)
	if end != "" {
		last = appendMetaKey(nil, pg, end)
	}
	it := s.db.NewIter(appendMetaKey(nil, pg, first), last)
	defer it.Close()
	for it.Next() {
		if max >= 0 && len(kvs) == max {
			more = true
			break
		}
		kvs = append(kvs, wire.KV{Key: string(it.Key()[metaPrefixLen:]), Value: append([]byte(nil), it.Value()...)})
	}
	return kvs, more, wire.Wrap("store.metalist", pg.String(), it.Err())
}

// settleAll waits until the index has all that was queued before.
func (s *Store) settleAll() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.inflight) == 0 {
		return nil
	}
	last := s.inflight[len(s.inflight)-1].epoch
	for len(s.inflight) > 0 && s.inflight[0].epoch <= last {
		if s.dead != nil {
			return wire.Wrap("store.list", "", s.dead)
		}
		s.applied.Wait()
	}
	return nil
}

// List gives up to max objects of a shard with first <= object < end in
// listing order; more says that there are others.
func (s *Store) List(shard int8, first, end wire.HObject, max int) (ids []ObjectID, more bool, err error) {
	if err := s.settleAll(); err != nil {
		return nil, false, err
	}
	it := s.db.NewIter(appendHObject(nil, shard, first), appendHObject(nil, shard, end))
	defer it.Close()
	for it.Next() {
		if len(ids) == max {
			more = true
			break
		}
		o, ok := parseObjectKey(it.Key())
		if !ok {
			return nil, false, damaged("key of an object")
		}
		ids = append(ids, o)
	}
	return ids, more, wire.Wrap("store.list", "", it.Err())
}

// Statfs gives size and use.
func (s *Store) Statfs() Statfs {
	st, err := s.db.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	free, reserve := s.alloc.free+s.growable, s.reserve
	out := Statfs{
		Total:         int64((s.alloc.units + s.growable) * unitSize),
		Free:          int64((free - min(free, reserve)) * unitSize),
		Data:          int64((s.alloc.units - s.alloc.free - superUnits) * unitSize),
		Objects:       s.numObjects,
		Full:          free <= reserve || s.indexLow || s.db.Full(),
		Wal:           int64(s.logUsed()),
		DeferredBytes: int64(s.overlayMem),
	}
	if err == nil {
		out.KVBytes = st.Bytes
	}
	return out
}
