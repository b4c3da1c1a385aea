package cls

import (
	"fmt"

	"github.com/spirula/spirula/rados/wire"
)

// The class log: entries in an object's omap under keys that begin with their
// time, "1_<seconds>.<microseconds>_<serial>", and in the omap's header the
// newest time and key.

const (
	logPrefix  = "1_"
	maxLogList = 1000 // entries of one answer
)

type logEntry struct {
	id, section, name string
	time              wire.Time
	data              []byte
}

func (l *logEntry) append(e *wire.Encoder) {
	m := e.Begin(2, 1)
	e.Str(l.section)
	e.Str(l.name)
	e.Time(l.time)
	e.Bytes(l.data)
	e.Str(l.id)
	e.End(m)
}

func (l *logEntry) read(d *wire.Decoder) {
	b := d.Begin(2)
	l.section, l.name, l.time, l.data = d.Str(), d.Str(), d.Time(), d.Bytes()
	if b.Version >= 2 {
		l.id = d.Str()
	}
	d.End(b)
}

type logHeader struct {
	marker string
	time   wire.Time
}

func (h *logHeader) append(e *wire.Encoder) {
	m := e.Begin(1, 1)
	e.Str(h.marker)
	e.Time(h.time)
	e.End(m)
}

// logTime is what keys of that time begin with.
func logTime(t wire.Time) string {
	return fmt.Sprintf("%s%010d.%06d_", logPrefix, int64(t)/1e9, int64(t)%1e9/1e3)
}

func readLogHeader(o object) (h logHeader, e wire.Errno) {
	p, e := o.omapHeader()
	if e != 0 || len(p) == 0 {
		return h, e
	}
	if !decode(p, 1, func(d *wire.Decoder, _ uint8) { h.marker, h.time = d.Str(), d.Time() }) {
		return h, wire.EIO
	}
	return h, 0
}

// logAdd keys an entry without an id by its time, or by the newest one if
// that is later and the caller wants keys only to grow.
func logAdd(o object, in []byte) ([]byte, int32) {
	var entries []logEntry
	grow := true
	if !decode(in, 2, func(d *wire.Decoder, version uint8) {
		for n := d.Count(6 + 4 + 4 + 8 + 4); n > 0 && d.Err() == nil; n-- {
			var l logEntry
			l.read(d)
			entries = append(entries, l)
		}
		if version >= 2 {
			grow = d.Bool()
		}
	}) {
		return nil, fail(wire.EINVAL)
	}
	h, e := readLogHeader(o)
	if e != 0 {
		return nil, fail(e)
	}
	for i := range entries {
		l := &entries[i]
		t := l.time
		if grow && t < h.time {
			t = h.time
		} else {
			h.time = max(h.time, t)
		}
		if l.id == "" {
			l.id = logTime(t) + o.Serial()
		}
		h.marker = max(h.marker, l.id)
		var v wire.Encoder
		l.append(&v)
		if e := o.omapSet(wire.KV{Key: l.id, Value: v.B}); e != 0 {
			return nil, fail(e)
		}
	}
	var v wire.Encoder
	h.append(&v)
	return nil, fail(o.setOmapHeader(v.B))
}

// logList gives entries after a marker, or from a time on, up to a time,
// exclusive, if both times are given.
func logList(o object, in []byte) ([]byte, int32) {
	var from, to wire.Time
	var marker string
	var limit int32
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) {
		from, marker, to, limit = d.Time(), d.Str(), d.Time(), d.I32()
	}) {
		return nil, fail(wire.EINVAL)
	}
	after := marker
	if after == "" {
		after = logTime(from)
	}
	if limit <= 0 || limit > maxLogList {
		limit = maxLogList
	}
	kvs, more, e := o.omapList(after, logPrefix, uint64(limit))
	if e != 0 {
		return nil, fail(e)
	}
	end := ""
	if from != 0 && to != 0 && to >= from {
		end = logTime(to)
	}
	var entries []logEntry
	last := ""
	for _, kv := range kvs {
		last = kv.Key
		if end != "" && kv.Key[:min(len(kv.Key), len(end))] >= end {
			more = false
			break
		}
		var l logEntry
		d := wire.NewDecoder(kv.Value)
		if l.read(d); d.Err() == nil {
			entries = append(entries, l)
		}
	}
	return encode(1, 1, func(e *wire.Encoder) {
		e.Count(len(entries))
		for i := range entries {
			entries[i].append(e)
		}
		e.Str(last)
		e.Bool(more)
	}), 0
}

// logTrim removes entries up to a key or a time, both inclusive. It is
// ENODATA when nothing is left there: callers go on until then.
func logTrim(o object, in []byte) ([]byte, int32) {
	var from, to wire.Time
	var fromMarker, toMarker string
	if !decode(in, 2, func(d *wire.Decoder, version uint8) {
		from, to = d.Time(), d.Time()
		if version >= 2 {
			fromMarker, toMarker = d.Str(), d.Str()
		}
	}) {
		return nil, fail(wire.EINVAL)
	}
	after, end := fromMarker, toMarker+"\x00"
	if after == "" {
		after = logTime(from)
	}
	if toMarker == "" {
		end = logTime(to + 1000)
	}
	keys, e := o.omapKeys(after, 1)
	switch {
	case e != 0:
		return nil, fail(e)
	case len(keys) == 0 || end < keys[0]:
		return nil, fail(wire.ENODATA)
	}
	return nil, fail(o.omapRmRange(keys[0], end))
}

func logInfo(o object, in []byte) ([]byte, int32) {
	if !decode(in, 1, func(*wire.Decoder, uint8) {}) {
		return nil, fail(wire.EINVAL)
	}
	h, e := readLogHeader(o)
	if e != 0 {
		return nil, fail(e)
	}
	return encode(1, 1, h.append), 0
}

var logMethods = []Method{
	{"add", true, true, logAdd},
	{"list", true, false, logList},
	{"trim", true, true, logTrim},
	{"info", true, false, logInfo},
}
