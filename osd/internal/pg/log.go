package pg

import (
	"fmt"
	"sort"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of the log. One log serves as history for replicas and as memory of
// finished requests: older entries than LogMin are there for the latter only.
// A request older than all of it is bounded by its client: nobody resends
// after so many later writes to the same PG.
const (
	LogMin   = 1500 // entries kept
	TrimStep = 200  // entries trimmed at a time
)

// Rows reads a PG's rows; the store is one.
type Rows interface {
	MetaGet(pg wire.SPGID, key string) ([]byte, error)
	// MetaList gives rows with first <= key < end, ascending, at most max;
	// more says that there are others.
	MetaList(pg wire.SPGID, first, end string, max int) (kvs []wire.KV, more bool, err error)
}

// logged is what is kept in memory of an entry; the rest is in its row.
type logged struct {
	version wire.EVersion
	req     wire.ReqID
	user    uint64
	result  int32
	more    bool // the row has results of single operations
}

// log is the PG log. The counters of its versions have no holes, so an
// entry's place follows from its version.
type log struct {
	entries []logged // ascending; the part before from is trimmed
	from    int
	tail    wire.EVersion         // of the newest trimmed entry
	stats   Stats                 // after the newest entry
	byReq   map[wire.ReqID]uint64 // counter of the request's newest entry
}

func newLog() log { return log{byReq: map[wire.ReqID]uint64{}} }

// head is the newest version; the tail's if the log is empty.
func (l *log) head() wire.EVersion {
	if n := len(l.entries); n > l.from {
		return l.entries[n-1].version
	}
	return l.tail
}

func (l *log) len() int { return len(l.entries) - l.from }

func (l *log) append(e *Entry) {
	if h := l.head(); !h.Less(e.Version) || e.Version.Version != h.Version+1 {
		panic(fmt.Sprintf("pg: log entry %v does not follow %v", e.Version, h))
	}
	if l.from > 0 && l.from >= len(l.entries)/8 && len(l.entries) == cap(l.entries) {
		n := copy(l.entries, l.entries[l.from:])
		l.entries, l.from = l.entries[:n], 0
	}
	l.entries = append(l.entries, logged{e.Version, e.ReqID, e.UserVersion, e.Result, len(e.Rvals)+len(e.Replies) > 0})
	l.stats = e.Stats
	if e.ReqID != (wire.ReqID{}) {
		l.byReq[e.ReqID] = e.Version.Version
	}
}

// pop takes back the newest entry, which never happened; stats is what was
// before it.
func (l *log) pop(stats Stats) {
	n := len(l.entries) - 1
	l.forget(&l.entries[n])
	l.entries = l.entries[:n]
	l.stats = stats
}

func (l *log) forget(e *logged) {
	if l.byReq[e.req] == e.version.Version {
		delete(l.byReq, e.req)
	}
}

// find gives the entry of a request.
func (l *log) find(r wire.ReqID) (logged, bool) {
	counter, ok := l.byReq[r]
	if !ok {
		return logged{}, false
	}
	return l.entries[l.from+int(counter-l.tail.Version-1)], true
}

// trimRows adds to t what trimming the oldest n entries changes in the
// store. It changes nothing in memory: the transaction may be refused.
func (l *log) trimRows(pg wire.SPGID, created wire.Epoch, n int, t *store.Txn) {
	tail := l.entries[l.from+n-1].version
	t.MetaRmRange(pg, rowLog, LogRow(tail)+"\x00")
	t.MetaSet(pg, wire.KV{Key: RowInfo, Value: encodeInfo(created, tail)})
}

// trim is trimRows in memory.
func (l *log) trim(n int) {
	for i := range n {
		l.forget(&l.entries[l.from+i])
	}
	l.from += n
	l.tail = l.entries[l.from-1].version
}

// has reports whether the log has an entry of this version, or ends before it
// began with it.
func (l *log) has(v wire.EVersion) bool {
	at := l.upTo(v)
	return at == v
}

// upTo gives the newest version of the log that is not above v; the tail if
// there is none.
func (l *log) upTo(v wire.EVersion) wire.EVersion {
	live := l.entries[l.from:]
	i := sort.Search(len(live), func(i int) bool { return v.Less(live[i].version) })
	if i == 0 {
		return l.tail
	}
	return live[i-1].version
}

// cut drops the entries after a version that the log has; stats is what was
// after it.
func (l *log) cut(after wire.EVersion, stats Stats) {
	n := len(l.entries)
	for n > l.from && after.Less(l.entries[n-1].version) {
		n--
	}
	if n == len(l.entries) {
		return
	}
	l.entries = l.entries[:n]
	l.stats = stats
	clear(l.byReq)
	for _, e := range l.entries[l.from:] {
		if e.req != (wire.ReqID{}) {
			l.byReq[e.req] = e.version.Version
		}
	}
}

// restart empties the log and has it begin after tail.
func (l *log) restart(tail wire.EVersion) {
	*l = newLog()
	l.tail = tail
}

// loadRows is how many rows are read at a time.
const loadRows = 500

// load reads the log from the store.
func (l *log) load(rows Rows, pg wire.SPGID, tail wire.EVersion) error {
	l.tail = tail
	return eachEntry(rows, pg, rowLog, func(e *Entry) error {
		if h := l.head(); !h.Less(e.Version) || e.Version.Version != h.Version+1 {
			return wire.Errorf("load pg log", fmt.Sprintf("%v entry %v behind %v", pg, e.Version, h), wire.EIO)
		}
		l.append(e)
		return nil
	})
}

// ReadLog reads a PG's log entries from a version on, it included. The log
// must not change meanwhile.
func ReadLog(rows Rows, pg wire.SPGID, from wire.EVersion) (entries []Entry, err error) {
	err = eachEntry(rows, pg, LogRow(from), func(e *Entry) error {
		entries = append(entries, *e)
		return nil
	})
	return entries, err
}

// eachEntry reads log rows from a key on.
func eachEntry(rows Rows, pg wire.SPGID, first string, fn func(*Entry) error) error {
	for {
		kvs, more, err := rows.MetaList(pg, first, rowEnd(rowLog), loadRows)
		if err != nil {
			return err
		}
		for _, kv := range kvs {
			e, err := DecodeEntry(kv.Value)
			if err != nil {
				return err
			}
			if kv.Key != LogRow(e.Version) {
				return wire.Errorf("read pg log", fmt.Sprintf("%v entry %v in another's row", pg, e.Version), wire.EIO)
			}
			if err := fn(&e); err != nil {
				return err
			}
		}
		if !more || len(kvs) == 0 {
			return nil
		}
		first = kvs[len(kvs)-1].Key + "\x00"
	}
}
