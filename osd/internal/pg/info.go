package pg

import (
	"slices"

	"github.com/spirula/spirula/osd/internal/record"
	"github.com/spirula/spirula/rados/wire"
)

// Past is an interval that is over and in which writes may have been
// answered: at least one OSD of it must be heard before the PG serves again.
type Past struct {
	First, Last wire.Epoch
	Acting      []int32
}

// History is what is known of a PG's past. Whoever knows more of it passes
// it on; merge takes the best of both.
type History struct {
	Created wire.Epoch // of the map that made the PG; 0: not known yet
	// Started is the epoch of the newest activation that every acting OSD
	// has on stable storage. Intervals that ended before it don't count.
	Started wire.Epoch
	Clean   wire.Epoch // the newest epoch known to have found all copies whole
	// PastFrom is the first epoch from which on Past has every interval that
	// counts.
	PastFrom wire.Epoch
	Past     []Past // ascending; of equal acting sets the newest only
}

// Info is what one OSD says of its copy of a PG.
type Info struct {
	History
	Held    bool          // false: it has no such PG
	LogTail wire.EVersion // of the newest entry that was trimmed
	// LastUpdate is the newest entry's; it is read off the log.
	LastUpdate wire.EVersion
	// LastStarted is the epoch of the newest activation that this OSD took
	// part in and that was to serve clients.
	LastStarted wire.Epoch
	// Backfilled is how far the copy is whole: objects up to it are there,
	// or in the missing set. wire.MaxHObject: all of them.
	Backfilled wire.HObject
	Missing    int // objects of the log that are not here
}

// Complete reports whether the copy reaches to the PG's end.
func (i *Info) Complete() bool { return i.Backfilled.Max }

// maxPast bounds the past intervals that are kept and sent. There are no more
// than acting sets since the PG was clean.
const maxPast = 512

// addPast adds an interval that ended.
func (h *History) addPast(p Past) {
	h.Past = slices.DeleteFunc(slices.Clone(h.Past), func(q Past) bool { return sameSet(q.Acting, p.Acting) })
	h.Past = append(h.Past, p)
	h.prune()
}

// prune forgets intervals that no longer count.
func (h *History) prune() {
	floor := max(h.Started, h.Clean)
	if i := slices.IndexFunc(h.Past, func(p Past) bool { return p.Last >= floor }); i != 0 {
		if i < 0 {
			i = len(h.Past)
		}
		h.Past = slices.Clone(h.Past[i:])
	}
}

// merge takes over what o knows better. Both were true at the same epoch of
// the map.
func (h *History) merge(o *History) {
	if h.Created == 0 {
		h.Created = o.Created
	}
	h.Started, h.Clean = max(h.Started, o.Started), max(h.Clean, o.Clean)
	if o.Created != 0 && (h.PastFrom > o.PastFrom || h.PastFrom == 0) {
		h.PastFrom, h.Past = o.PastFrom, o.Past
	}
	h.prune()
}

// known reports whether every interval that counts is in Past.
func (h *History) known() bool {
	return h.Created != 0 && h.PastFrom <= max(h.Created, h.Started, h.Clean)
}

func sameSet(a, b []int32) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		if !slices.Contains(b, x) {
			return false
		}
	}
	return true
}

func encodeOSDs(r *record.Encoder, v []int32) {
	r.U64(uint64(len(v)))
	for _, o := range v {
		r.I64(int64(o))
	}
}

func decodeOSDs(d *record.Decoder) (v []int32) {
	for range d.Count() {
		v = append(v, d.I32())
	}
	return v
}

func (h *History) encode(r *record.Encoder) {
	r.U64(uint64(h.Created))
	r.U64(uint64(h.Started))
	r.U64(uint64(h.Clean))
	r.U64(uint64(h.PastFrom))
	past := h.Past[max(0, len(h.Past)-maxPast):]
	r.U64(uint64(len(past)))
	for _, p := range past {
		r.U64(uint64(p.First))
		r.U64(uint64(p.Last))
		encodeOSDs(r, p.Acting)
	}
}

func (h *History) decode(d *record.Decoder) {
	h.Created = wire.Epoch(d.U32())
	h.Started = wire.Epoch(d.U32())
	h.Clean = wire.Epoch(d.U32())
	h.PastFrom = wire.Epoch(d.U32())
	for range d.Count() {
		p := Past{First: wire.Epoch(d.U32()), Last: wire.Epoch(d.U32())}
		p.Acting = decodeOSDs(d)
		h.Past = append(h.Past, p)
	}
}

// encode writes an Info for a message.
func (i *Info) encode(r *record.Encoder) {
	i.History.encode(r)
	r.Bool(i.Held)
	r.EVersion(i.LogTail)
	r.EVersion(i.LastUpdate)
	r.U64(uint64(i.LastStarted))
	r.HObject(i.Backfilled)
	r.I64(int64(i.Missing))
}

func (i *Info) decode(d *record.Decoder) {
	i.History.decode(d)
	i.Held = d.Bool()
	i.LogTail = d.EVersion()
	i.LastUpdate = d.EVersion()
	i.LastStarted = wire.Epoch(d.U32())
	i.Backfilled = d.HObject()
	i.Missing = int(d.I32())
}

const (
	infoVersion    = 1
	historyVersion = 3 // 1 had no led, 2 was not split
)

// encodeInfo gives the row RowInfo: when the PG was made and where its log
// begins.
func encodeInfo(created wire.Epoch, tail wire.EVersion) []byte {
	r := record.Begin(infoVersion, 16)
	r.U64(uint64(created))
	r.EVersion(tail)
	return r.Seal()
}

func decodeInfo(p []byte) (created wire.Epoch, tail wire.EVersion, err error) {
	d, _ := record.Open("pg info", p, infoVersion)
	created = wire.Epoch(d.U32())
	tail = d.EVersion()
	return created, tail, d.End()
}

// standing is the row RowHistory: what changes with intervals and not with
// writes.
type standing struct {
	history     History
	lastStarted wire.Epoch
	backfilled  wire.HObject
	epoch       wire.Epoch // of the map at which the row was written
	since       wire.Epoch // first of the interval
	led         wire.Epoch // from when on its primary has been the primary
	interval    Interval
	upThru      bool   // the interval's primary may have answered writes
	divided     uint32 // the pg_num by which the rows are divided; 0: not known yet
	approximate bool   // the counts are not exact
	foreign     bool   // the rows that other parts have got are not all removed
}

func (s *standing) encode() []byte {
	r := record.Begin(historyVersion, 96)
	s.history.encode(r)
	r.U64(uint64(s.lastStarted))
	r.HObject(s.backfilled)
	r.U64(uint64(s.epoch))
	r.U64(uint64(s.since))
	r.U64(uint64(s.led))
	i := &s.interval
	encodeOSDs(r, i.Up)
	encodeOSDs(r, i.Acting)
	r.I64(int64(i.Primary))
	r.U64(uint64(i.MinSize))
	r.U64(uint64(i.Size))
	r.U64(uint64(i.PGNum))
	r.Bool(i.Exists)
	r.Bool(s.upThru)
	r.U64(uint64(s.divided))
	r.Bool(s.foreign)
	r.Bool(s.approximate)
	return r.Seal()
}

func decodeStanding(p []byte) (s standing, err error) {
	d, version := record.Open("pg history", p, historyVersion)
	s.history.decode(d)
	s.lastStarted = wire.Epoch(d.U32())
	s.backfilled = d.HObject()
	s.epoch = wire.Epoch(d.U32())
	s.since = wire.Epoch(d.U32())
	if s.led = s.since; version > 1 {
		s.led = wire.Epoch(d.U32())
	}
	i := &s.interval
	i.Up = decodeOSDs(d)
	i.Acting = decodeOSDs(d)
	i.Primary = d.I32()
	i.MinSize, i.Size, i.PGNum = int(d.U32()), int(d.U32()), d.U32()
	i.Exists = d.Bool()
	s.upThru = d.Bool()
	s.divided = i.PGNum
	if version > 2 {
		s.divided, s.foreign, s.approximate = d.U32(), d.Bool(), d.Bool()
	}
	return s, d.End()
}
