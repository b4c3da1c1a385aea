package msgr

import (
	"context"

	"github.com/spirula/spirula/rados/wire"
)

// Method is a way of proving who one is (Ceph's values).
type Method uint32

// The methods.
const (
	MethodNone  Method = 1 // AUTH_NONE: everybody is believed
	MethodCephx Method = 2
)

// Mode is how the frames of an authenticated connection are protected
// (Ceph's values).
type Mode uint32

// The modes.
const (
	ModeCRC    Mode = 1 // checksums
	ModeSecure Mode = 2 // AES-128-GCM
)

// Identity is what a connection knows of who is at its other end.
type Identity struct {
	// Name is the entity as keyrings call it: client.admin, osd.3, "mon.".
	// Several connections may be of one Name.
	Name wire.AuthName
	// GlobalID is the number that the mons gave to this run of the entity.
	GlobalID uint64
	// Trusted means that everything is allowed: the peer is of this
	// process, or the daemon checks nobody (MethodNone).
	Trusted bool
	// Caps is what the keyring allows the entity on the kind of daemon that
	// accepted the connection, as text ("allow rwx pool=data"); package
	// rados/cephx reads it. It counts only if not Trusted.
	Caps string
	// Mode is the protection in use; 0 within a process.
	Mode Mode
	// Challenge is what the acceptor's ServerAuth asked of the peer, for
	// exchanges later in the session that refer to it; 0 for none.
	Challenge uint64
}

// SessionKeys is what both ends hold when authentication is done.
type SessionKeys struct {
	// Key is the shared secret under which both sign what they received;
	// empty with MethodNone, when the signature is 32 zero bytes.
	Key []byte
	// Secret has the keys of ModeSecure: 64 bytes, else empty.
	Secret []byte
}

// Step is the acceptor's answer to one message of authentication.
type Step struct {
	// Done: the peer is who Identity says, and Payload goes into AUTH_DONE.
	// Otherwise Payload goes into AUTH_REPLY_MORE, and another message is
	// awaited.
	Done     bool
	Payload  []byte
	Identity Identity // GlobalID and Mode are told to the peer
	Keys     SessionKeys
}

// ServerAuth decides who may connect to a daemon. Its methods are called from
// many goroutines.
type ServerAuth interface {
	// Accept begins the authentication of one connection from an entity that
	// calls itself one of kind peer.
	Accept(peer wire.EntityType) ServerHandshake
}

// ServerHandshake is one connection's authentication, the acceptor's side.
type ServerHandshake interface {
	// Request answers AUTH_REQUEST. An error ends the attempt but not the
	// connection: the peer is told the error's kind and what Offer gives
	// (AUTH_BAD_METHOD), and may ask once more. It may wait for the mons,
	// while ctx lasts.
	Request(ctx context.Context, method Method, modes []Mode, payload []byte) (Step, error)
	// More answers AUTH_REQUEST_MORE; likewise.
	More(ctx context.Context, payload []byte) (Step, error)
	// Offer gives the methods and modes that are allowed.
	Offer() ([]Method, []Mode)
}

// ClientAuth proves who an entity is. Its methods are called from many
// goroutines.
type ClientAuth interface {
	// Dial begins the authentication of one connection to a daemon of kind
	// peer. EACCES: there is nothing to prove it with, such as a ticket for
	// that kind of daemon.
	Dial(peer wire.EntityType) (ClientHandshake, error)
}

// ClientHandshake is one connection's authentication, the dialler's side.
type ClientHandshake interface {
	// Request gives the AUTH_REQUEST to begin with.
	Request() (method Method, modes []Mode, payload []byte, err error)
	// Refused takes AUTH_BAD_METHOD; another AUTH_REQUEST follows unless it
	// gives an error, which has the kind that the peer told.
	Refused(method Method, kind wire.Errno, methods []Method, modes []Mode) error
	// More answers AUTH_REPLY_MORE.
	More(payload []byte) ([]byte, error)
	// Done takes AUTH_DONE, checks that the acceptor knows what only the
	// right one can know, and gives the keys.
	Done(globalID uint64, mode Mode, payload []byte) (SessionKeys, error)
}

// NoAuth is both sides of MethodNone. Name is who a dialler says it is; an
// acceptor believes everybody.
type NoAuth struct{ Name wire.AuthName }

var (
	_ ClientAuth = NoAuth{}
	_ ServerAuth = NoAuth{}
)
