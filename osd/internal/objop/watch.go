package objop

import (
	"cmp"
	"slices"

	"github.com/spirula/spirula/osd/internal/record"
	"github.com/spirula/spirula/rados/wire"
)

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

func (w *Watch) encode(e *record.Encoder) {
	e.U8(uint8(w.Client.Type))
	e.I64(w.Client.Num)
	e.U64(w.Cookie)
	e.U64(uint64(w.Timeout))
	var a wire.Encoder
	a.Addr(w.Addr)
	e.Bytes(a.B)
}

func decodeWatch(d *record.Decoder) Watch {
	w := Watch{Client: wire.EntityName{Type: wire.EntityType(d.U8()), Num: d.I64()}, Cookie: d.U64(), Timeout: d.U32()}
	w.Addr = wire.NewDecoder(d.Bytes()).Addr()
	return w
}

// findWatch gives the place of a watch in an ascending list, and whether it
// is there.
func findWatch(ws []Watch, client wire.EntityName, cookie uint64) (int, bool) {
	return slices.BinarySearchFunc(ws, Watch{Client: client, Cookie: cookie}, func(a, b Watch) int {
		return cmp.Or(cmp.Compare(a.Cookie, b.Cookie), cmp.Compare(a.Client.Type, b.Client.Type),
			cmp.Compare(a.Client.Num, b.Client.Num))
	})
}

// watch registers, renews, confirms or ends the asker's watch.
func (v *vector) watch(op *wire.Op) wire.Errno {
	if !v.live {
		return wire.ENOENT
	}
	ws, cookie := v.Object.Info.Watches, op.Num
	at, found := findWatch(ws, v.req.Asker.Client, cookie)
	switch op.Watch {
	case wire.WatchRegister, wire.WatchLegacy:
		w := Watch{Client: v.req.Asker.Client, Cookie: cookie, Timeout: uint32(op.Len), Addr: v.req.Asker.Addr}
		if w.Timeout == 0 {
			w.Timeout = WatchTimeout
		}
		switch {
		case !found && len(ws) >= MaxWatches:
			return wire.ENOMEM
		case !found:
			v.setWatches(slices.Insert(slices.Clone(ws), at, w))
		case ws[at] != w:
			ws = slices.Clone(ws)
			ws[at] = w
			v.setWatches(ws)
		}
	case wire.WatchReconnect, wire.WatchPing:
		if !found {
			return wire.ENOTCONN
		}
	case wire.WatchUnwatch:
		if !found {
			return 0
		}
		v.Effects.Watches = append(v.Effects.Watches, WatchEffect{op.Watch, ws[at]})
		v.setWatches(slices.Delete(slices.Clone(ws), at, at+1))
		return 0
	default:
		return wire.EINVAL
	}
	v.Effects.Watches = append(v.Effects.Watches, WatchEffect{op.Watch, v.Object.Info.Watches[at]})
	return 0
}

// setWatches changes the object's watches, which is no change that a client
// or a snapshot sees.
func (v *vector) setWatches(ws []Watch) {
	if len(ws) == 0 {
		ws = nil
	}
	v.Object.Info.Watches = ws
	v.Changed = true
}

// dropWatches ends all watches, because the object ends.
func (v *vector) dropWatches() {
	v.Effects.Disconnect = append(v.Effects.Disconnect, v.Object.Info.Watches...)
	v.Object.Info.Watches = nil
}

func (v *vector) listWatchers(res *wire.OpResult) wire.Errno {
	for _, w := range v.Object.Info.Watches {
		res.Watchers = append(res.Watchers,
			wire.Watcher{Client: w.Client, Cookie: w.Cookie, Timeout: w.Timeout, Addr: w.Addr})
	}
	return 0
}

// notify leaves NOTIFY and NOTIFY_ACK to the daemon. A malformed NOTIFY_ACK
// is refused here; a NOTIFY whose input can't be read is Ceph's oldest form,
// without payload and timeout.
func (v *vector) notify(op *wire.Op) wire.Errno {
	if !v.live {
		return wire.ENOENT
	}
	if op.Code == wire.OpNotify {
		v.Effects.Notifies = append(v.Effects.Notifies, v.index)
		return 0
	}
	if _, err := wire.DecodeNotifyAckInput(op.Value); err != nil {
		return wire.EINVAL
	}
	v.Effects.Acks = append(v.Effects.Acks, v.index)
	return 0
}
