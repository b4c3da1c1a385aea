package msgr

import (
	"encoding/binary"
	"io"
	"sync/atomic"

	"github.com/spirula/spirula/rados/wire"
)

// Sizes of a connection's buffers, in bytes. A reader begins with the small
// one, and takes the large one when the peer keeps it full.
const (
	smallRead   = 4 << 10
	largeRead   = 64 << 10
	directRead  = 32 << 10 // what is awaited and longer goes past the buffer
	keepScratch = 64 << 10 // scratch memory above this is not kept
)

// inFrame is a frame received. Its slices are valid until the next one is
// read; data has one reference, which is the receiver's.
type inFrame struct {
	preamble
	payload []byte // segment 0
	front   []byte
	data    wire.Data
	aborted bool               // the sender thought better of it: to be skipped
	head    [secureInline]byte // memory of a short payload
}

// drop gives up the data.
func (f *inFrame) drop() {
	f.data.Release()
	f.data = wire.Data{}
}

// reader takes frames from a byte stream. It trusts nothing of them, and
// allocates data only as they come.
type reader struct {
	src   io.Reader
	buf   []byte
	r, w  int // buf[r:w] was read and not consumed
	gcm   *gcmStream
	arena *wire.Arena
	pool  *scratchPool
	// slow is told how many bytes are awaited when a message's segments
	// aren't there yet, and 0 when they are.
	slow   func(n int)
	slowed bool
	// budget bounds the memory of what is received; nil does not. stop ends
	// the wait for it.
	budget *budget
	stop   <-chan struct{}
	// large counts the large buffers; grown means that this reader has one.
	large  *atomic.Int64
	grown  bool
	blocks bool // the checksums of data's blocks are noted

	recording bool
	record    []byte // what was consumed, while recording
	scratch   []byte
}

// enlarge takes the large buffer, unless too many readers have one.
func (r *reader) enlarge() {
	if r.grown || r.recording {
		return
	}
	if r.large.Add(1) > maxLarge {
		r.large.Add(-1)
		return
	}
	r.grown = true
	r.grow(largeRead)
}

// close gives back what counts.
func (r *reader) close() {
	if r.grown {
		r.grown = false
		r.large.Add(-1)
	}
}

// grow changes the buffer's size.
func (r *reader) grow(n int) {
	buf := make([]byte, n)
	r.w = copy(buf, r.buf[r.r:r.w])
	r.r, r.buf = 0, buf
}

// next consumes n bytes. They are valid until the next call.
func (r *reader) next(n int) ([]byte, error) {
	if n > len(r.buf) {
		r.grow(max(n, smallRead))
	}
	for r.w-r.r < n {
		if r.r+n > len(r.buf) || r.r == r.w {
			r.w = copy(r.buf, r.buf[r.r:r.w])
			r.r = 0
		}
		m, err := r.src.Read(r.buf[r.w:])
		r.w += m
		if err != nil && r.w-r.r < n {
			if err == io.EOF && r.w > r.r {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if r.w == len(r.buf) {
			r.enlarge()
		}
	}
	p := r.buf[r.r : r.r+n]
	r.r += n
	if r.recording {
		if len(r.record)+n > maxHandshake {
			return nil, protocolError("the handshake is longer than %d bytes", maxHandshake)
		}
		r.record = append(r.record, p...)
	}
	return p, nil
}

// fill reads p full. What is long goes past the buffer.
func (r *reader) fill(p []byte) error {
	for {
		n := copy(p, r.buf[r.r:r.w])
		r.r += n
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		var err error
		if len(p) >= min(directRead, len(r.buf)) {
			n, err = r.src.Read(p)
			p = p[n:]
		} else {
			r.r = 0
			r.w, err = r.src.Read(r.buf)
		}
		if err != nil && len(p) > r.w-r.r {
			return unexpected(err)
		}
	}
}

// frame reads one frame into f. allowed says which tags may come now; what
// comes instead is refused before its body is read.
func (r *reader) frame(f *inFrame, allowed func(tag) bool) error {
	*f = inFrame{}
	r.forget()
	if r.gcm != nil {
		return r.secureFrame(f, allowed)
	}
	p, err := r.next(preambleSize)
	if err != nil {
		return err
	}
	if f.preamble, err = parsePreamble(p); err != nil {
		return err
	}
	if !allowed(f.tag) {
		return protocolError("frame of tag %d is out of place", f.tag)
	}
	n := f.lens[0]
	if n == 0 {
		return nil
	}
	if p, err = r.next(n + crcSize); err != nil {
		return unexpected(err)
	}
	f.payload = p[:n]
	if binary.LittleEndian.Uint32(p[n:]) != wire.FrameCRC(emptyCRC, f.payload) {
		return protocolError("checksum of a frame's first segment")
	}
	if f.nseg == 1 {
		return nil
	}
	return r.body(f)
}

// begin prepares for total bytes of a message, n of them in the scratch
// memory. What total stands for is promised until end is called.
func (r *reader) begin(total, n int) error {
	if r.budget != nil {
		if err := r.budget.reserve(total, r.stop); err != nil {
			return err
		}
	}
	if r.slowed = r.w-r.r < total; r.slowed {
		r.slow(total)
	}
	if cap(r.scratch) < n {
		r.scratch = r.pool.get(n)
	}
	r.scratch = r.scratch[:n]
	return nil
}

func (r *reader) end(total int) {
	if r.slowed {
		r.slow(0)
	}
	if r.budget != nil {
		r.budget.unreserve(total)
	}
}

// forget gives up scratch memory that is too large to be kept.
func (r *reader) forget() {
	if cap(r.scratch) > keepScratch {
		r.pool.put(r.scratch)
		r.scratch = nil
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// body reads what follows a message's header in crc mode.
func (r *reader) body(f *inFrame) error {
	f.payload = append(f.head[:0], f.payload...)
	n := f.lens[1] + f.lens[2]
	if err := r.begin(n+f.lens[3], n); err != nil {
		return err
	}
	defer r.end(n + f.lens[3])
	if err := r.fill(r.scratch); err != nil {
		return err
	}
	f.front = r.scratch[:f.lens[1]]
	crcs := [3]uint32{wire.FrameCRC(emptyCRC, f.front)}
	if f.nseg > 2 {
		crcs[1] = wire.FrameCRC(emptyCRC, r.scratch[f.lens[1]:])
	}
	var err error
	if f.nseg > 3 {
		if crcs[2], err = r.readData(f); err != nil {
			return err
		}
	}
	p, err := r.next(epilogueSize)
	if err != nil {
		f.drop()
		return unexpected(err)
	}
	for i, crc := range crcs[:f.nseg-1] {
		if binary.LittleEndian.Uint32(p[1+4*i:]) != crc {
			err = protocolError("checksum of a message's segment %d", i+1)
		}
	}
	if err == nil {
		err = f.late(p[0])
	}
	if err != nil {
		f.drop()
	}
	return err
}

// late takes the status that follows a frame's segments.
func (f *inFrame) late(status byte) error {
	switch status & lateMask {
	case lateComplete:
		return nil
	case lateAborted:
		f.aborted = true
		return nil
	}
	return protocolError("late status %#x", status)
}

// crcPiece is how much is read and summed at a time, so that the sum finds
// the bytes in the cache.
const crcPiece = 256 << 10

// readData reads the data segment, and gives its checksum.
func (r *reader) readData(f *inFrame) (crc uint32, err error) {
	crc = emptyCRC
	for left := f.lens[3]; left > 0; {
		n := min(left, wire.MaxBuf)
		b := r.arena.NewBuf(n)
		p := b.Bytes()[:n]
		for len(p) > 0 {
			piece := p[:min(len(p), crcPiece)]
			if err := r.fill(piece); err != nil {
				b.Release()
				f.drop()
				return 0, err
			}
			crc = r.sum(crc, b, piece)
			p = p[len(piece):]
		}
		f.data.Append(b, 0, n)
		left -= n
	}
	return crc, nil
}

// sum goes on with a checksum. If somebody may store the data, it notes those
// of the blocks, which piece begins with.
func (r *reader) sum(crc uint32, b *wire.Buf, piece []byte) uint32 {
	for r.blocks && len(piece) >= wire.BlockSize {
		block := wire.CRC32C(piece[:wire.BlockSize])
		b.AddBlockCRC(block)
		crc, piece = wire.FrameCRCBlock(crc, block), piece[wire.BlockSize:]
	}
	return wire.FrameCRC(crc, piece)
}

// secureFrame is frame in ModeSecure.
func (r *reader) secureFrame(f *inFrame, allowed func(tag) bool) error {
	p, err := r.next(secureFirst)
	if err != nil {
		return err
	}
	if p, err = r.gcm.open(p); err != nil {
		return err
	}
	if f.preamble, err = parsePreamble(p); err != nil {
		return err
	}
	if !allowed(f.tag) {
		return protocolError("frame of tag %d is out of place", f.tag)
	}
	n := f.lens[0]
	f.payload = append(f.head[:0], p[preambleSize:preambleSize+min(n, secureInline)]...)
	if rest := n - secureInline; rest > 0 {
		if p, err = r.next(padded(rest) + gcmTag); err != nil {
			return unexpected(err)
		}
		if p, err = r.gcm.open(p); err != nil {
			return err
		}
		f.payload = append(f.payload, p[:rest]...)
	}
	if f.nseg == 1 {
		return nil
	}
	return r.secureBody(f)
}

// secureBody reads a message's segments, which are one operation.
func (r *reader) secureBody(f *inFrame) error {
	n := gcmBlock + gcmTag
	for _, l := range f.lens[1:f.nseg] {
		n += padded(l)
	}
	if err := r.begin(n+f.lens[3], n); err != nil {
		return err
	}
	defer r.end(n + f.lens[3])
	if err := r.fill(r.scratch); err != nil {
		return err
	}
	p, err := r.gcm.open(r.scratch)
	if err != nil {
		return err
	}
	f.front, p = p[:f.lens[1]], p[padded(f.lens[1]):]
	p = p[padded(f.lens[2]):]
	if err := f.late(p[padded(f.lens[3])]); err != nil {
		return err
	}
	for left := p[:f.lens[3]]; len(left) > 0; {
		b := r.arena.NewBuf(min(len(left), wire.MaxBuf))
		m := copy(b.Bytes(), left)
		f.data.Append(b, 0, m)
		left = left[m:]
	}
	return nil
}
