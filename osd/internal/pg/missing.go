package pg

import (
	"cmp"
	"crypto/sha256"
	"slices"

	"github.com/spirula/spirula/osd/internal/record"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Missing is an object that an OSD does not have as its log says: it must
// come to the state of version Need. A zero Need means that it must not be
// there. Gone: that state may be that the object was removed.
type Missing struct {
	Object wire.HObject // the head
	Need   wire.EVersion
	Gone   bool
}

func (m *Missing) encode() []byte {
	r := record.Begin(1, 48+len(m.Object.Name))
	r.HObject(m.Object)
	r.EVersion(m.Need)
	r.Bool(m.Gone)
	return r.Seal()
}

func decodeMissing(p []byte) (m Missing, err error) {
	d, _ := record.Open("missing object", p, 1)
	m.Object = d.HObject()
	m.Need = d.EVersion()
	m.Gone = d.Bool()
	return m, d.End()
}

// missingRow is the key of an object's row in the missing set. Names may be
// longer than keys, so it is a digest; the value has the object.
func missingRow(o wire.HObject) string {
	r := record.Begin(1, 48+len(o.Name))
	r.HObject(o)
	sum := sha256.Sum256(r.Seal())
	return rowMissing + string(sum[:16])
}

// missingSet is what an OSD lacks of the objects in its log. Every member has
// a row, written with the log entry that made it one and removed with the
// object's recovery.
type missingSet map[wire.HObject]Missing

func (s missingSet) add(pg wire.SPGID, m Missing, t *store.Txn) {
	s[m.Object] = m
	t.MetaSet(pg, wire.KV{Key: missingRow(m.Object), Value: m.encode()})
}

// list gives the set, oldest need first.
func (s missingSet) list() []Missing {
	if len(s) == 0 {
		return nil
	}
	out := make([]Missing, 0, len(s))
	for _, m := range s {
		out = append(out, m)
	}
	slices.SortFunc(out, compareMissing)
	return out
}

func compareMissing(a, b Missing) int {
	return cmp.Or(a.Need.Compare(b.Need), a.Object.Compare(b.Object))
}

// load reads the set from the PG's rows.
func (s missingSet) load(rows Rows, pg wire.SPGID) error {
	for first := rowMissing; ; {
		kvs, more, err := rows.MetaList(pg, first, rowEnd(rowMissing), loadRows)
		if err != nil {
			return err
		}
		for _, kv := range kvs {
			m, err := decodeMissing(kv.Value)
			if err != nil {
				return err
			}
			s[m.Object] = m
		}
		if !more || len(kvs) == 0 {
			return nil
		}
		first = kvs[len(kvs)-1].Key + "\x00"
	}
}

// changes reports whether an entry of this kind leaves another object than
// it found.
func (k EntryKind) changes() bool { return k != KindResult }

// mergeLog makes the log's end what the authoritative log has: the entries
// after since, own, are replaced by entries. own begins with since's entry if
// the log has it. Objects that are now other than they should be become
// missing, unless they lie beyond what a backfill has reached.
func (c *Core) mergeLog(since wire.EVersion, own, entries []Entry, t *store.Txn) {
	stats := Stats{}
	if len(own) > 0 && own[0].Version == since {
		stats, own = own[0].Stats, own[1:]
	}
	if len(own) > 0 {
		t.MetaRmRange(c.id, LogRow(own[0].Version), LogRow(own[len(own)-1].Version)+"\x00")
	}
	c.log.cut(since, stats)
	newer := map[wire.HObject]bool{}
	for i := range entries {
		e := &entries[i]
		c.log.append(e)
		t.MetaSet(c.id, wire.KV{Key: LogRow(e.Version), Value: e.Encode()})
		if e.Kind.changes() {
			newer[e.Object] = true
			c.lack(Missing{e.Object, e.Version, e.Kind != KindModify}, t)
		}
	}
	for i := range own {
		d := &own[i]
		if !d.Kind.changes() || newer[d.Object] {
			continue
		}
		newer[d.Object] = true // the first divergent entry decides
		if m, ok := c.missing[d.Object]; ok && !since.Less(m.Need) {
			continue // what it was before is what is missing already
		}
		c.lack(Missing{d.Object, d.Prior, d.Prior == wire.EVersion{}}, t)
	}
	c.committed = c.log.head()
}

func (c *Core) lack(m Missing, t *store.Txn) {
	if m.Object.Compare(c.backfilled) <= 0 {
		c.missing.add(c.id, m, t)
	}
}
