// Package msgr carries messages between entities: clients, mons and OSDs.
//
// A Network is one way of carrying. Local, the in-process one, hands the
// message struct to the receiver's Dispatcher on the sender's goroutine. TCP
// speaks messenger v2.1: encoding happens at its socket and nowhere else, so
// nothing above this package knows which of them is in use. Join puts both
// behind one address. Package msgrtest has the suite that all of them pass.
//
// # What a sender may expect
//
// Messages on one Conn arrive in the order in which Send returned. A message
// either arrives, or the Conn is reset and both ends' Dispatchers learn of it
// through Reset. Whoever needs an answer resends on a new Conn.
//
// # What a Dispatcher must keep to
//
// Dispatch runs inline, on the sender's stack or on the goroutine that reads
// the connection. It may take the mutex of a placement group or session; it
// must not wait for a disk, for a throttle, or for another message. It must
// not send on a Conn while it holds a lock that its peer's Dispatch could
// want: collect, unlock, send. A reply is dispatched the same way, so the
// receiver of a reply only completes a waiting operation or puts the message
// into an inbox of its own.
//
// # TCP
//
// A frame is a preamble of 32 bytes, up to four segments, checksums (ModeCRC)
// or tags (ModeSecure); frame.go and secure.go have the layout. A connection
// begins with banners and HELLOs, then a ServerAuth and a ClientAuth exchange
// what they want, both sign what they have received, and idents make the
// session. A connection that does anything else is closed, counted in Metrics
// and logged, one line for each kind of trouble in ten seconds.
//
// A lossy session ends with its connection. That between two OSDs or two mons
// does not: what the peer has not acknowledged is kept and sent again over
// the next connection, which either end may dial; of two dials at once that of
// the lower address counts. There is one such session between two listeners.
// Its connection is closed when nobody uses it, and dialled again when somebody
// does. Peers that have nothing to tell each other for long forget the session.
//
// Send encodes and queues. One goroutine writes what is queued in batches, with
// one system call each; Data is never copied on the way out, and read from the
// socket straight into Bufs on the way in. What waits is bounded for each
// session (TCPOptions.SendBytes), what clients send in sum (RecvBytes), as are
// handshakes under way, sessions, and the time for each of them. What other
// daemons send waits for no memory: two daemons that wait for each other's
// would stand still.
//
// Conn.Close returns at once; what was sent before goes out in the background,
// within flushTime, and the peer hears of the end behind it. Listener.Close and
// TCP.Close wait for that.
package msgr

import (
	"context"

	"github.com/spirula/spirula/rados/wire"
)

// Conn is one session between two entities.
type Conn interface {
	// Send queues or delivers m. It takes whatever references it needs
	// before it returns. The error is ENOTCONN once the Conn is reset or
	// closed; a reply's Data then still belong to the sender.
	Send(m wire.Message) error
	// Peer is the entity at the other end. For a client it is the name
	// that the mon gave it.
	Peer() wire.EntityName
	// PeerAddr is the other end's address; for a client it has a nonce
	// that tells its incarnations apart.
	PeerAddr() wire.Addr
	// Identity is who the peer proved to be. It is known from the first
	// message dispatched on, and to the dialler once Wait has returned.
	Identity() *Identity
	// GlobalID is the number that the acceptor told us, the dialler, that
	// we have in the cluster; 0 if the transport did not authenticate, and
	// before Wait has returned.
	GlobalID() uint64
	// Wait waits until the session is authenticated and stands. The error
	// says why it does not: EACCES or EPERM when the peer refused us,
	// ENOTCONN when it can't be reached; ctx's end.
	Wait(ctx context.Context) error
	// Close ends the session; the peer's Dispatcher sees a Reset, ours
	// does not. It may be called twice.
	Close()
}

// Dispatcher receives messages. Its methods are called from many goroutines.
type Dispatcher interface {
	// Dispatch receives one message. The message's Data is valid during
	// the call; whoever keeps it takes references. (A reply's Data goes
	// over to the receiver instead: see package wire, ownership.)
	Dispatch(c Conn, m wire.Message)
	// Reset says that the peer is gone and what was sent on c and not
	// answered may be lost.
	Reset(c Conn)
}

// Network lets entities listen and connect.
type Network interface {
	// Listen makes d reachable at addr. A zero port chooses a free one;
	// the address in use, with its nonce, is returned by Listener.Addr.
	// auth decides who may connect; NoAuth lets everybody in.
	Listen(me wire.EntityName, addr wire.Addr, d Dispatcher, auth ServerAuth) (Listener, error)
	// Connect opens a session with the entity of kind peer at addr, to
	// which auth proves who we are. Messages from the peer on it go to d.
	// It does not wait for the network: what is sent meanwhile goes out
	// once the session stands (Conn.Wait), and if it never does, Reset says
	// so. A failure that is known at once is an error, ENOTCONN.
	Connect(me wire.EntityName, myAddr wire.Addr, peer wire.EntityType, addr wire.Addr, d Dispatcher, auth ClientAuth) (Conn, error)
}

// Listener is a bound address. Close resets every session accepted on it and
// returns when no Dispatch runs any more.
type Listener interface {
	Addr() wire.Addr
	Close()
}
