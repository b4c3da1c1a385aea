package filer

import (
	"context"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

const (
	// pieceSize is what a Stream sends at a time.
	pieceSize = 1 << 20
	// streamFlight is how many bytes a Stream has in flight at most.
	streamFlight = 4 << 20
)

// Stream writes content in order into a new stream. It is used by one
// goroutine at a time.
type Stream struct {
	f      *Filer
	sid    uint64
	size   uint64    // bytes so far
	held   wire.Data // its last bytes, not sent
	sent   bool
	flight []streamCall
	flying int
	err    error // the first failure; the Stream is of no more use
	ended  bool
}

type streamCall struct {
	call *rados.Call
	n    int
}

// NewStream starts the stream with number sid, which nobody has written.
func (f *Filer) NewStream(sid uint64) *Stream { return &Stream{f: f, sid: sid} }

// ID is the stream's number.
func (s *Stream) ID() uint64 { return s.sid }

// Size is the number of bytes so far.
func (s *Stream) Size() uint64 { return s.size }

// Held gives the whole content while nothing of it was sent (at most
// SingleMax bytes), for keeping it inline; it belongs to the Stream.
func (s *Stream) Held() (d wire.Data, ok bool) { return s.held, !s.sent }

// Write appends d, taking references of its own. It waits while too much is
// in flight: a Stream holds at most 5 MiB besides d.
func (s *Stream) Write(ctx context.Context, d wire.Data) error {
	if s.err != nil {
		return s.err
	}
	if s.ended {
		return wire.Errorf("filer.write", objectName(s.sid, 0), wire.EINVAL)
	}
	s.held.AppendData(d.Retain())
	s.size += uint64(d.Len())
	if !s.sent && s.held.Len() <= SingleMax {
		return nil
	}
	for s.held.Len() >= pieceSize {
		if err := s.send(ctx, pieceSize); err != nil {
			return err
		}
	}
	return nil
}

// send starts the first n held bytes, or as many as are left in their object.
func (s *Stream) send(ctx context.Context, n int) error {
	for s.flying > 0 && s.flying+n > streamFlight {
		if err := s.reap(ctx); err != nil {
			return err
		}
	}
	off := s.size - uint64(s.held.Len())
	at := off % ObjectSize
	n = min(n, int(ObjectSize-at))
	piece := s.held.Slice(0, n)
	rest := s.held.Slice(n, s.held.Len()-n)
	s.held.Release()
	s.held, s.sent = rest, true
	s.start(ctx, off/ObjectSize, at, piece)
	return nil
}

// start sends piece, whose references it takes.
func (s *Stream) start(ctx context.Context, n, at uint64, piece wire.Data) *rados.Call {
	ops := make([]wire.Op, 0, 2)
	if at == 0 {
		ops = append(ops, wire.Op{Code: wire.OpCreate, Flags: wire.OpExcl})
	}
	ops = append(ops, wire.Op{Code: wire.OpWrite, Off: at, Len: uint64(piece.Len()), Data: piece, Flags: wire.OpWillNeed})
	call := s.f.data.Start(ctx, &rados.Op{Object: objectName(s.sid, n), Ops: ops})
	s.flight = append(s.flight, streamCall{call, piece.Len()})
	s.flying += piece.Len()
	s.f.Metrics.StreamBytes.Add(uint64(piece.Len()))
	piece.Release() // whoever sends it has taken its own
	return call
}

// reap waits for the oldest piece in flight.
func (s *Stream) reap(ctx context.Context) error {
	c := s.flight[0]
	s.flight = s.flight[1:]
	s.flying -= c.n
	if _, err := c.call.Wait(ctx); err != nil && s.err == nil {
		s.err = wire.Wrap("filer.write", objectName(s.sid, 0), err)
	}
	return s.err
}

// StartSingle sends the content held as one vector that creates the object
// exclusively. The caller waits for the call; its EEXIST means that somebody
// decided that this content never arrives. Only while Held says ok, and
// not for empty content: otherwise it panics.
func (s *Stream) StartSingle(ctx context.Context) *rados.Call {
	if s.sent || s.ended || s.size == 0 {
		panic("filer: StartSingle of content that was sent or is empty")
	}
	piece := s.held
	s.held, s.sent, s.ended = wire.Data{}, true, true
	call := s.start(ctx, 0, 0, piece)
	s.flight, s.flying = nil, 0
	return call
}

// Finish sends the rest and waits until all of it is durable. On an error
// the Stream is to be aborted.
func (s *Stream) Finish(ctx context.Context) error {
	for s.err == nil && s.held.Len() > 0 {
		s.send(ctx, min(pieceSize, s.held.Len()))
	}
	for s.err == nil && len(s.flight) > 0 {
		s.reap(ctx)
	}
	s.ended = s.err == nil
	return s.err
}

// Abort drops what is held and waits for what is in flight; the objects
// written, those below Size, are the caller's to purge. After Finish or
// StartSingle it does nothing.
func (s *Stream) Abort() {
	if s.ended {
		return
	}
	s.ended = true
	s.held.Release()
	s.held = wire.Data{}
	if s.err == nil {
		s.err = wire.Errorf("filer.abort", objectName(s.sid, 0), wire.ESHUTDOWN)
	}
	for len(s.flight) > 0 {
		s.reap(s.f.ctx)
	}
}

// Preclude makes sure that the single vector of stream sid either has
// arrived or never can (namespace.md, "Transactions"): present tells which.
// The mark it leaves when not stays until the stream is purged.
func (f *Filer) Preclude(ctx context.Context, sid uint64) (present bool, err error) {
	_, err = f.data.Do(ctx, &rados.Op{Object: objectName(sid, 0), Ops: []wire.Op{{Code: wire.OpCreate, Flags: wire.OpExcl}}})
	if kindIs(err, wire.EEXIST) {
		return true, nil
	}
	return false, wire.Wrap("filer.preclude", objectName(sid, 0), err)
}
