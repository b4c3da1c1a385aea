package pg

import (
	"fmt"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of what a PG remembers. A request older than the log and the dups
// is bounded by its client: nobody resends after so many writes of its own.
const (
	LogMin   = 500  // entries kept
	LogMax   = 3000 // entries kept at most, while replicas lag
	TrimStep = 200  // entries trimmed at a time
	DupsMax  = 3000 // dups kept
)

// Rows reads a PG's rows; the store is one.
type Rows interface {
	MetaGet(pg wire.SPGID, key string) ([]byte, error)
	// MetaList gives rows with first <= key < end, ascending, at most max;
	// more says that there are others.
	MetaList(pg wire.SPGID, first, end string, max int) (kvs []wire.KV, more bool, err error)
}

// log is the PG log in memory: entries, dups, and both by request.
type log struct {
	entries []Entry // ascending; the part before from is trimmed
	from    int
	tail    wire.EVersion // of the newest trimmed entry
	dups    []Dup         // ascending; the part before dupsFrom is trimmed
	dupFrom int
	byReq   map[wire.ReqID]reqAt
}

// reqAt says where a request's result lies: the version of its entry or dup.
type reqAt struct{ version wire.EVersion }

func newLog() log { return log{byReq: map[wire.ReqID]reqAt{}} }

// head is the newest version; the tail's if the log is empty.
func (l *log) head() wire.EVersion {
	if n := len(l.entries); n > l.from {
		return l.entries[n-1].Version
	}
	return l.tail
}

func (l *log) len() int { return len(l.entries) - l.from }

func (l *log) stats() Stats {
	if n := len(l.entries); n > l.from {
		return l.entries[n-1].Stats
	}
	return Stats{}
}

func (l *log) append(e Entry) {
	if !l.head().Less(e.Version) {
		panic(fmt.Sprintf("pg: log entry %v behind head %v", e.Version, l.head()))
	}
	if l.from > 0 && l.from >= len(l.entries)/2 && len(l.entries) == cap(l.entries) {
		n := copy(l.entries, l.entries[l.from:])
		clear(l.entries[n:])
		l.entries, l.from = l.entries[:n], 0
	}
	l.entries = append(l.entries, e)
	if e.ReqID != (wire.ReqID{}) {
		l.byReq[e.ReqID] = reqAt{e.Version}
	}
}

// pop takes back the newest entry, which never happened.
func (l *log) pop() {
	n := len(l.entries) - 1
	if r := l.entries[n].ReqID; r != (wire.ReqID{}) {
		delete(l.byReq, r)
	}
	l.entries[n] = Entry{}
	l.entries = l.entries[:n]
}

// find gives the result of a request, whether it is in the log or a dup.
func (l *log) find(r wire.ReqID) (Dup, bool) {
	at, ok := l.byReq[r]
	if !ok {
		return Dup{}, false
	}
	if i, ok := search(l.entries[l.from:], at.version, func(e *Entry) wire.EVersion { return e.Version }); ok {
		return l.entries[l.from+i].dup(), true
	}
	if i, ok := search(l.dups[l.dupFrom:], at.version, func(d *Dup) wire.EVersion { return d.Version }); ok {
		return l.dups[l.dupFrom+i], true
	}
	panic(fmt.Sprintf("pg: request %v at %v is neither in the log nor a dup", r, at.version))
}

func search[T any](s []T, v wire.EVersion, version func(*T) wire.EVersion) (int, bool) {
	lo, hi := 0, len(s)
	for lo < hi {
		m := (lo + hi) / 2
		if version(&s[m]).Less(v) {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo, lo < len(s) && version(&s[lo]) == v
}

// trimRows adds to t what trimming the oldest n entries changes in the
// store. It changes nothing in memory: the transaction may be refused.
func (l *log) trimRows(pg wire.SPGID, info Info, n int, t *store.Txn) {
	cut := l.entries[l.from : l.from+n]
	info.LogTail = cut[n-1].Version
	t.MetaRmRange(pg, rowLog, versionRow(rowLog, info.LogTail)+"\x00")
	kvs := make([]wire.KV, 0, n+1)
	kvs = append(kvs, wire.KV{Key: RowInfo, Value: info.Encode()})
	for i := range cut {
		if cut[i].ReqID != (wire.ReqID{}) {
			d := cut[i].dup()
			kvs = append(kvs, wire.KV{Key: versionRow(rowDup, d.Version), Value: d.Encode()})
		}
	}
	if over := len(l.dups) - l.dupFrom + len(kvs) - 1 - DupsMax; over > 0 {
		over = min(over, len(l.dups)-l.dupFrom)
		t.MetaRmRange(pg, rowDup, versionRow(rowDup, l.dups[l.dupFrom+over-1].Version)+"\x00")
	}
	t.MetaSet(pg, kvs...)
}

// trim is trimRows in memory.
func (l *log) trim(n int) {
	for i := range n {
		e := &l.entries[l.from+i]
		if e.ReqID != (wire.ReqID{}) {
			l.dups = append(l.dups, e.dup())
		}
		l.tail = e.Version
		*e = Entry{}
	}
	l.from += n
	for len(l.dups)-l.dupFrom > DupsMax {
		d := &l.dups[l.dupFrom]
		if l.byReq[d.ReqID].version == d.Version {
			delete(l.byReq, d.ReqID)
		}
		*d = Dup{}
		l.dupFrom++
	}
	if l.dupFrom > DupsMax {
		l.dups = append(l.dups[:0:0], l.dups[l.dupFrom:]...)
		l.dupFrom = 0
	}
}

// loadRows is how many rows are read at a time.
const loadRows = 500

func eachRow(rows Rows, pg wire.SPGID, prefix string, fn func(wire.KV) error) error {
	first := prefix
	for {
		kvs, more, err := rows.MetaList(pg, first, rowEnd(prefix), loadRows)
		if err != nil {
			return err
		}
		for _, kv := range kvs {
			if err := fn(kv); err != nil {
				return err
			}
		}
		if !more || len(kvs) == 0 {
			return nil
		}
		first = kvs[len(kvs)-1].Key + "\x00"
	}
}

// load reads log and dups from the store.
func (l *log) load(rows Rows, pg wire.SPGID, tail wire.EVersion) error {
	l.tail = tail
	err := eachRow(rows, pg, rowDup, func(kv wire.KV) error {
		d, err := DecodeDup(kv.Value)
		if err == nil {
			l.dups = append(l.dups, d)
			l.byReq[d.ReqID] = reqAt{d.Version}
		}
		return err
	})
	if err != nil {
		return err
	}
	return eachRow(rows, pg, rowLog, func(kv wire.KV) error {
		e, err := DecodeEntry(kv.Value)
		if err != nil {
			return err
		}
		if !l.head().Less(e.Version) || kv.Key != versionRow(rowLog, e.Version) {
			return wire.Errorf("load pg log", fmt.Sprintf("%v entry %v", pg, e.Version), wire.EIO)
		}
		l.append(e)
		return nil
	})
}
