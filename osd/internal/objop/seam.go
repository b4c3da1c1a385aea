package objop

import "github.com/spirula/spirula/rados/wire"

// Asker is on whose behalf a vector runs.
type Asker struct {
	Client wire.EntityName
	Addr   wire.Addr
}

// Watch is one watch of an object, part of its Info. Client and Cookie
// identify it.
type Watch struct {
	Client  wire.EntityName
	Cookie  uint64
	Timeout uint32 // seconds, never 0
	Addr    wire.Addr
}

// WatchTimeout is that of a watch that asks for none, in seconds (Ceph's
// osd_client_watch_timeout).
const WatchTimeout = 30

// Copied is what COPY_FROM and COPY_FROM2 put into their object: the source
// as it was at one moment. The daemon fetches it before Run.
type Copied struct {
	Err         wire.Errno // the source could not be had; the operation fails with it
	Size        uint64
	MTime       wire.Time
	UserVersion uint64
	// Data are Size bytes in order; they belong to the request's owner.
	Data       wire.Data
	Xattrs     []wire.KV
	OmapHeader []byte
	Omap       []wire.KV
}

// Effects is what a vector asks of the daemon beyond the object's state. It
// counts only if the vector's Result is not negative.
type Effects struct {
	// Watches are the WATCH operations that passed, in order. The daemon
	// ties register, reconnect and ping to the asker's connection.
	Watches []WatchEffect
	// Notifies and Acks are the indices of NOTIFY and NOTIFY_ACK operations
	// that passed; the daemon reads their input (wire.DecodeNotifyInput,
	// wire.DecodeNotifyAckInput) and puts a NOTIFY's id into its result.
	Notifies, Acks []int
	// Disconnect are watches that ended because the object was deleted.
	Disconnect []Watch
}

// WatchEffect is one WATCH operation that passed.
type WatchEffect struct {
	Op    wire.WatchOp
	Watch Watch
}
