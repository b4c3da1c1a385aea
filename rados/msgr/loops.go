package msgr

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// minRate is how fast data must come at least, in bytes a second.
const minRate = 256 << 10

// patience is how long n bytes may take that have been begun.
func patience(n int) time.Duration { return stallTime + time.Duration(n/minRate)*time.Second }

// readLoop receives frames until the connection ends, or the session is
// closed and the peer has seen it.
func (c *tcpConn) readLoop(k *link) error {
	k.r.slow = func(n int) {
		if n == 0 {
			k.c.SetReadDeadline(time.Time{})
			return
		}
		k.c.SetReadDeadline(time.Now().Add(patience(n)))
	}
	k.r.blocks = c.listener != nil
	if c.listener != nil && !c.lossless {
		k.r.budget, k.r.stop = &c.net.budget, c.stop
	}
	var f inFrame
	for {
		err := k.r.frame(&f, c.allowed)
		if c.dead.Load() {
			f.drop()
			return c.drain(k, err)
		}
		if err != nil {
			return err
		}
		c.lastIn.Store(time.Now().UnixNano())
		if err := c.received(&f); err != nil {
			return err
		}
	}
}

// allowed says what may come once a session stands.
func (c *tcpConn) allowed(t tag) bool {
	switch t {
	case tagMessage, tagKeepalive, tagKeepaliveAck, tagAck:
		return true
	case tagSessionReset: // the peer has closed it
		return c.lossless
	}
	return false
}

// drain reads on until the peer has seen our end: closing a socket that has
// bytes to be read would destroy what the peer has not read yet.
func (c *tcpConn) drain(k *link, err error) error {
	c.mu.Lock()
	if c.err != nil {
		err = c.err
	}
	left := lingerTime
	if !c.flushed {
		left += flushTime
	}
	k.c.SetReadDeadline(time.Now().Add(left))
	c.mu.Unlock()
	if err == nil {
		_, err = io.Copy(io.Discard, k.c)
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// received takes one frame.
func (c *tcpConn) received(f *inFrame) error {
	switch f.tag {
	case tagMessage:
		return c.message(f)
	case tagKeepalive:
		if len(f.payload) != len(c.stamp) {
			return protocolError("keepalive of %d bytes", len(f.payload))
		}
		c.mu.Lock()
		copy(c.stamp[:], f.payload)
		c.want(wantKeepaliveAck)
		c.mu.Unlock()
	case tagAck:
		if len(f.payload) != 8 {
			return protocolError("ack of %d bytes", len(f.payload))
		}
		return c.acked(binary.LittleEndian.Uint64(f.payload))
	case tagSessionReset:
		return errRemoteReset
	}
	return nil
}

// want has a control frame sent, under c.mu. Several of one kind that wait
// are one.
func (c *tcpConn) want(what control) {
	c.control |= what
	c.wake.Broadcast()
}

// message decodes and dispatches.
func (c *tcpConn) message(f *inFrame) error {
	defer f.drop()
	if f.aborted {
		return nil
	}
	h, err := wire.DecodeFrameHeader(f.payload)
	if err != nil {
		return protocolError("message header: %v", err)
	}
	m := &c.net.Metrics
	m.FramesIn.Add(1)
	m.BytesIn.Add(int64(len(f.front) + f.data.Len()))
	if dup, err := c.sequence(&h); dup || err != nil {
		return err
	}
	msg, err := c.net.opts.Registry.Decode(wire.Parts{Header: h.Header, Front: f.front, Data: f.data})
	if errors.Is(err, wire.EOPNOTSUPP) {
		m.UnknownMessages.Add(1)
		c.net.warn("message of an unknown type skipped", "peer", c.Peer(), "type", h.Type)
		return nil
	}
	if err != nil {
		return protocolError("%v", err)
	}
	c.d.Dispatch(c, msg)
	release(msg)
	return nil
}

// release gives back what decoding took. What a reply carries is the
// Dispatcher's.
func release(m wire.Message) {
	switch m := m.(type) {
	case *wire.MOSDOpReply:
	case *wire.MOSDOp:
		m.Release()
	case interface{ Release() }:
		m.Release()
	}
}

// Bounds of one batch of messages written together.
const (
	batchFrames = 64
	batchBytes  = 1 << 20
)

// writer is the state of a connection's writing goroutine.
type writer struct {
	batch   []*outFrame
	control control
	stamp   [8]byte
	pieces  net.Buffers
	left    net.Buffers // of pieces, during a write
	scratch []byte
}

// writeLoop writes what the session has to send, until the connection is the
// session's no more, or all is written and the session closed.
func (c *tcpConn) writeLoop(k *link) {
	defer close(k.gone)
	var w writer
	for c.take(k, &w) {
		err := c.write(k, &w)
		c.wrote(&w)
		if err != nil {
			c.mu.Lock()
			if c.lossless {
				k.c.Close() // the reader sees it
			} else {
				c.fail(err)
			}
			c.mu.Unlock()
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !k.over {
		c.flushed = true
		k.c.SetReadDeadline(time.Now().Add(lingerTime))
		if half, ok := k.c.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		} else {
			k.c.Close()
		}
	}
}

// take waits for something to write. False: there will be nothing more.
func (c *tcpConn) take(k *link, w *writer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if k.over || c.err != nil {
			return false
		}
		if c.closing && len(c.out) == 0 {
			if !c.lossless || k.goodbye {
				return false
			}
			k.goodbye = true
			c.control |= wantGoodbye
		}
		if len(c.out) > 0 || c.control != 0 {
			break
		}
		c.wake.Wait()
	}
	w.control, w.stamp, c.control = c.control, c.stamp, 0
	n, bytes := 0, 0
	for n < len(c.out) && n < batchFrames && bytes < batchBytes {
		f := c.out[n]
		bytes += f.size()
		w.batch = append(w.batch, f)
		n++
	}
	if c.lossless {
		c.keep(w.batch, bytes)
	}
	c.taken(n, bytes)
	if !c.closing {
		k.c.SetWriteDeadline(time.Now().Add(patience(bytes)))
	}
	return true
}

// taken removes the first n messages from the queue, under c.mu.
func (c *tcpConn) taken(n, bytes int) {
	if n == len(c.out) {
		c.out = c.out[:0]
		if cap(c.out) > keepQueue {
			c.out = nil
		}
	} else {
		c.out = c.out[n:]
	}
	c.outBytes -= bytes
}

// keepQueue is how long a queue may be to be kept when it is empty.
const keepQueue = 1024

// controlRoom is enough for the control frames of one batch, encrypted.
const controlRoom = 4 * secureFirst

// write writes a batch.
func (c *tcpConn) write(k *link, w *writer) error {
	pieces := w.pieces[:0]
	w.scratch = w.scratch[:0]
	ack := c.inSeq.Load()
	c.acknowledged(ack)
	if k.enc != nil {
		w.grow(&c.net.scratch)
	}
	w.appendControls(k, ack)
	if len(w.scratch) > 0 {
		pieces = append(pieces, w.scratch)
	}
	m := &c.net.Metrics
	for _, f := range w.batch {
		if k.enc != nil {
			at := len(w.scratch)
			w.scratch = k.enc.sealMessage(w.scratch, f, ack)
			pieces = append(pieces, w.scratch[at:])
		} else {
			f.finish(ack)
			pieces = f.appendTo(pieces)
		}
		m.FramesOut.Add(1)
		m.BytesOut.Add(int64(f.front - frontOffset + f.data.Len()))
	}
	m.Writes.Add(1)
	w.pieces = pieces
	w.left = pieces
	_, err := w.left.WriteTo(k.c)
	clear(w.pieces)
	if cap(w.scratch) > keepScratch {
		c.net.scratch.put(w.scratch)
		w.scratch = nil
	}
	return err
}

// grow makes room for a batch that is going to be encrypted.
func (w *writer) grow(pool *scratchPool) {
	n := controlRoom
	for _, f := range w.batch {
		n += sealedSize(f)
	}
	if cap(w.scratch) < n {
		w.scratch = pool.get(n)[:0]
	}
}

func (w *writer) appendControls(k *link, ack uint64) {
	b := w.scratch
	if w.control&wantKeepaliveAck != 0 {
		b = k.appendControl(b, tagKeepaliveAck, w.stamp[:])
	}
	var e wire.Encoder
	if w.control&wantKeepalive != 0 {
		e.Time(wire.TimeOf(time.Now()))
		b = k.appendControl(b, tagKeepalive, e.B)
	}
	if w.control&wantGoodbye != 0 {
		b = k.appendControl(b, tagSessionReset, []byte{1})
	}
	if w.control&wantAck != 0 {
		b = k.appendControl(b, tagAck, binary.LittleEndian.AppendUint64(nil, ack))
	}
	w.scratch = b
}

// wrote gives back what was written, but for what the peer must acknowledge.
func (c *tcpConn) wrote(w *writer) {
	c.lastOut.Store(time.Now().UnixNano())
	if c.lossless {
		c.unpin(w.batch)
	} else {
		for _, f := range w.batch {
			c.net.free(f)
		}
	}
	clear(w.batch)
	w.batch = w.batch[:0]
}
