package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// traceSize is the length of the tracing ids that Pacific always sends as
// zeros.
const traceSize = 24

var zeroTrace [traceSize]byte

const (
	osdOpVersion      = 8
	osdOpCompat       = 3
	osdOpReplyVersion = 8
	osdOpReplyCompat  = 2
	// An MOSDOp without operations and names has this many bytes.
	osdOpFixed = 24 + 4 + 4 + 4 + 27 + traceSize + 4 + 8 + 34 + 4 + 2 + 8 + 8 + 4 + 4 + 8
)

// encode gives the parts of the request. The operations' payloads go by
// reference; what else is input of operations goes into one buffer.
func (m *MOSDOp) encode(buf []byte) (Parts, error) {
	if len(m.Ops) > math.MaxUint16 {
		return Parts{}, Errorf("encode message", fmt.Sprintf("MOSDOp %d: %d operations", m.TID, len(m.Ops)), EINVAL)
	}
	e := Encoder{B: grow(buf, osdOpFixed+len(m.Object)+len(m.Locator.Key)+len(m.Locator.Namespace)+
		len(m.Ops)*recordSize+len(m.SnapC.Snaps)*8)}
	e.SPGID(m.PG)
	e.U32(m.Hash)
	e.U32(uint32(m.Epoch))
	e.U32(uint32(m.Flags))
	e.ReqID(m.ReqID)
	e.Raw(zeroTrace[:])
	e.U32(0) // the client's incarnation, again
	e.Time(m.MTime)
	e.Locator(m.Locator)
	e.Str(m.Object)
	e.U16(uint16(len(m.Ops)))
	records := len(e.B)
	var in Encoder
	for i := range m.Ops {
		op := &m.Ops[i]
		start := len(in.B)
		in.opInput(op)
		e.opRecord(op, len(in.B)-start+op.payload().Len())
	}
	s := newSplice(in.B)
	for i := range m.Ops {
		p := m.Ops[i].payload()
		input := int(binary.LittleEndian.Uint32(e.B[records+(i+1)*recordSize-4:]))
		s.bytes(input - p.Len())
		s.data(p)
	}
	e.U64(uint64(m.Snap))
	e.SnapContext(m.SnapC)
	e.I32(m.Attempt)
	e.U64(Features)
	return Parts{
		Header: Header{Type: TypeMOSDOp, Priority: prioLow, Version: osdOpVersion, Compat: osdOpCompat, TID: m.TID},
		Front:  e.B, Data: s.done(),
	}, nil
}

func grow(buf []byte, n int) []byte {
	if cap(buf)-len(buf) >= n {
		return buf
	}
	return append(make([]byte, 0, len(buf)+n), buf...)
}

// osdOpMemory is an MOSDOp together with room for what is in nearly every
// one, so that decoding allocates once.
type osdOpMemory struct {
	m       MOSDOp
	ops     [2]Op
	records [2 * recordSize]byte
}

func decodeMOSDOp(in *Parts) (*MOSDOp, error) {
	// Newer versions have more in the middle, older ones less.
	if in.Version != osdOpVersion {
		return nil, malformed("MOSDOp", fmt.Errorf("%w: version %d", ErrFormat, in.Version))
	}
	d := Decoder{b: in.Front, all: in.Front}
	mem := &osdOpMemory{}
	m := &mem.m
	m.TID = in.TID
	m.PG = d.SPGID()
	m.Hash = d.U32()
	m.Epoch = Epoch(d.U32())
	m.Flags = OSDFlag(d.U32())
	m.ReqID = d.ReqID()
	d.Skip(traceSize)
	d.Skip(4)
	m.MTime = d.Time()
	m.Locator = d.Locator()
	m.Object = d.Str()
	n := int(d.U16())
	records := d.Raw(n * recordSize)
	m.Snap = SnapID(d.U64())
	m.SnapC = d.SnapContext()
	m.Attempt = d.I32()
	d.Skip(8) // the client's features: the connection's count
	if d.err != nil {
		return nil, d.err
	}
	if inputs(records, n) > uint64(in.Data.Len()) {
		return nil, malformed("MOSDOp's data", ErrTruncated)
	}
	m.Records = append(mem.records[:0], records...)
	if n <= len(mem.ops) {
		m.Ops = mem.ops[:n:n]
	} else {
		m.Ops = make([]Op, n)
	}
	off := 0
	for i := range m.Ops {
		r := m.Records[i*recordSize : (i+1)*recordSize]
		size := int(binary.LittleEndian.Uint32(r[recordSize-4:]))
		decodeOp(&m.Ops[i], r, in.Data, off, size)
		off += size
	}
	return m, nil
}

// inputs is the sum of the lengths in n records.
func inputs(records []byte, n int) (sum uint64) {
	for i := range n {
		sum += uint64(binary.LittleEndian.Uint32(records[(i+1)*recordSize-4:]))
	}
	return sum
}

// splice joins pieces of one buffer and Data into one Data, in order, without
// copying.
type splice struct {
	out      Data
	buf      *Buf
	off, end int // of buf: taken, promised
}

func newSplice(b []byte) splice {
	s := splice{}
	if len(b) > 0 {
		s.buf = DataOf(b).one.Buf
	}
	return s
}

// bytes takes the next n bytes of the buffer.
func (s *splice) bytes(n int) { s.end += n }

// data takes d, with references of its own.
func (s *splice) data(d Data) {
	if d.Len() == 0 {
		return
	}
	s.flush()
	s.out.AppendData(d.Retain())
}

func (s *splice) flush() {
	if s.end > s.off {
		s.buf.Retain()
		s.out.Append(s.buf, s.off, s.end-s.off)
		s.off = s.end
	}
}

func (s *splice) done() Data {
	s.flush()
	if s.buf != nil {
		s.buf.Release()
	}
	return s.out
}

// encode gives the parts of the reply. Data of reads goes by reference.
func (m *MOSDOpReply) encode(buf []byte) (Parts, error) {
	n := len(m.Records) / recordSize
	if len(m.Results) > n {
		return Parts{}, Errorf("encode message",
			fmt.Sprintf("MOSDOpReply %d: %d results, %d records of operations", m.TID, len(m.Results), n), EINVAL)
	}
	e := Encoder{B: grow(buf, 4+len(m.Object)+17+8+4+12+4+4+n*(recordSize+4)+4+12+8+1+traceSize)}
	e.Str(m.Object)
	e.PGID(m.PG)
	e.U64(uint64(m.Flags))
	e.I32(m.Result)
	replay := m.Version
	if m.UserVersion != 0 {
		replay.Version = m.UserVersion
	}
	e.EVersion(replay)
	e.U32(uint32(m.Epoch))
	e.Count(n)
	data := m.encodeResults(&e, n)
	e.I32(m.Attempt)
	for i := range n {
		if i < len(m.Results) {
			e.I32(m.Results[i].Rval)
		} else {
			e.I32(0)
		}
	}
	e.EVersion(m.Version)
	e.U64(m.UserVersion)
	e.U8(0) // no redirect
	e.Raw(zeroTrace[:])
	return Parts{
		Header: Header{Type: TypeMOSDOpReply, Priority: prioDefault, Version: osdOpReplyVersion,
			Compat: osdOpReplyCompat, TID: m.TID},
		Front: e.B, Data: data,
	}, nil
}

// encodeResults appends the records and gives the data.
func (m *MOSDOpReply) encodeResults(e *Encoder, n int) Data {
	records := len(e.B)
	var out Encoder
	stopped := m.silent() || m.refused()
	for i := range n {
		r := m.Records[i*recordSize : (i+1)*recordSize]
		size := 0
		if i < len(m.Results) && !stopped {
			res := &m.Results[i]
			start := len(out.B)
			out.opOutput(recordCode(r), res)
			size = len(out.B) - start + res.Data.Len()
			stopped = res.Rval < 0 && recordFlags(r)&OpFailOK == 0
		}
		at := len(e.B)
		e.Raw(r[:recordSize-4])
		e.Count(size)
		if c := recordCode(r); size > 0 && (c == OpRead || c == OpSyncRead) {
			binary.LittleEndian.PutUint64(e.B[at+6+8:], uint64(size))
		}
	}
	s := newSplice(out.B)
	for i := range m.Results {
		size := int(binary.LittleEndian.Uint32(e.B[records+(i+1)*recordSize-4:]))
		if size == 0 {
			continue
		}
		d := m.Results[i].Data
		s.bytes(size - d.Len())
		s.data(d)
	}
	return s.done()
}

// silent reports whether the reply goes without output: it says that a vector
// has changed something, and the client did not ask for more.
func (m *MOSDOpReply) silent() bool {
	if m.Result < 0 || m.Version == (EVersion{}) || m.Flags&FlagReturnVec != 0 {
		return false
	}
	for r := m.Records; len(r) >= recordSize; r = r[recordSize:] {
		if c := recordCode(r); c.Writes() || c == OpCall {
			return true
		}
	}
	return false
}

// refused reports whether the vector failed before its first operation.
func (m *MOSDOpReply) refused() bool {
	if m.Result >= 0 {
		return false
	}
	for i := range m.Results {
		if m.Results[i].Rval < 0 {
			return false
		}
	}
	return true
}

func recordCode(r []byte) OpCode  { return OpCode(binary.LittleEndian.Uint16(r)) }
func recordFlags(r []byte) OpFlag { return OpFlag(binary.LittleEndian.Uint32(r[2:])) }

// osdReplyMemory is to MOSDOpReply what osdOpMemory is to MOSDOp.
type osdReplyMemory struct {
	m       MOSDOpReply
	results [1]OpResult
	records [2 * recordSize]byte
}

func decodeMOSDOpReply(in *Parts) (*MOSDOpReply, error) {
	if in.Version != osdOpReplyVersion {
		return nil, malformed("MOSDOpReply", fmt.Errorf("%w: version %d", ErrFormat, in.Version))
	}
	d := Decoder{b: in.Front, all: in.Front}
	mem := &osdReplyMemory{}
	m := &mem.m
	m.TID = in.TID
	m.Object = d.Str()
	m.PG = d.PGID()
	m.Flags = OSDFlag(d.U64())
	m.Result = d.I32()
	d.EVersion() // what a client without the next one would replay
	m.Epoch = Epoch(d.U32())
	n := d.Count(recordSize)
	records := d.Raw(n * recordSize)
	m.Attempt = d.I32()
	if 4*n > d.Len() {
		d.Fail(ErrTruncated)
	}
	if d.err != nil {
		return nil, d.err
	}
	m.Results = mem.results[:]
	if n != len(mem.results) {
		m.Results = make([]OpResult, n)
	}
	for i := range m.Results {
		m.Results[i].Rval = d.I32()
	}
	m.Version = d.EVersion()
	m.UserVersion = d.U64()
	if d.Bool() {
		d.Fail(fmt.Errorf("%w: MOSDOpReply redirects", ErrFormat))
	}
	if d.err != nil {
		return nil, d.err
	}
	if inputs(records, n) > uint64(in.Data.Len()) {
		return nil, malformed("MOSDOpReply's data", ErrTruncated)
	}
	m.Records = append(mem.records[:0], records...)
	m.decodeResults(in.Data)
	return m, nil
}

// decodeResults reads the operations' output. An output that is none makes an
// I/O error of its operation.
func (m *MOSDOpReply) decodeResults(data Data) {
	off := 0
	for i := range m.Results {
		r := m.Records[i*recordSize : (i+1)*recordSize]
		n := int(binary.LittleEndian.Uint32(r[recordSize-4:]))
		res := &m.Results[i]
		if !decodeOutput(recordCode(r), res, data, off, n) {
			res.Data.Release()
			*res = OpResult{Rval: -int32(EIO)}
			if m.Result >= 0 {
				m.Result = -int32(EIO)
			}
		}
		off += n
	}
}
