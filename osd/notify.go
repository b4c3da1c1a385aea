package osd

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// Bounds of notifies.
const (
	maxNotifies      = 4096     // under way in a daemon; beyond: EAGAIN
	maxNotifyReplies = 16 << 20 // bytes of one notify's answers; beyond: EMSGSIZE to the watcher
	notifyTimeout    = 30       // seconds, of a notify that says none
	maxNotifyTimeout = 3600     // seconds
)

// notify is one notify under way. The PG's mutex guards it.
type notify struct {
	in       *watched
	id       uint64
	cookie   uint64   // the notifier's own
	from     *session // the notifier
	payload  []byte
	waiting  map[watchKey]bool
	replies  []wire.NotifyReply
	size     int // bytes in replies
	timer    *time.Timer
	timedOut bool
}

// message is what a watcher gets.
func (n *notify) message(w *watch) *wire.MWatchNotify {
	return &wire.MWatchNotify{Event: wire.EventNotify, Cookie: w.info.Cookie, NotifyID: n.id, Payload: n.payload,
		Notifier: uint64(n.from.conn.Peer().Num)}
}

// admitNotifies gives the vector's NOTIFYs their ids, which are their
// answers. EAGAIN: too many are under way.
func (o *op) admitNotifies() wire.Errno {
	d := o.osd
	for _, i := range o.out.Effects.Notifies {
		if d.notifies.Add(1) > maxNotifies {
			d.notifies.Add(-1)
			o.out.Effects.Notifies = o.out.Effects.Notifies[:slices.Index(o.out.Effects.Notifies, i)]
			return wire.EAGAIN
		}
		id := uint64(o.since)<<32 | uint64(d.nextNotify.Add(1))
		o.notifyIDs = append(o.notifyIDs, id)
		o.out.Results[i].Value = binary.LittleEndian.AppendUint64(nil, id)
	}
	return 0
}

// startNotifies sends the vector's notifies to the object's watchers, after
// the vector was answered.
func (o *op) startNotifies() {
	g, d := o.group, o.osd
	for k, id := range o.notifyIDs {
		op := &o.req.Ops[o.out.Effects.Notifies[k]]
		in, err := wire.DecodeNotifyInput(op.Value)
		if err != nil {
			in = wire.NotifyInput{}
		}
		if in.Timeout == 0 {
			in.Timeout = notifyTimeout
		}
		g.mu.Lock()
		if g.core.Since() != o.since {
			g.mu.Unlock()
			d.notifies.Add(-1)
			continue
		}
		n := &notify{in: g.watchedOf(o.object), id: id, cookie: op.Num, from: o.session, payload: in.Payload,
			waiting: map[watchKey]bool{}}
		letters := n.start(time.Duration(min(in.Timeout, maxNotifyTimeout)) * time.Second)
		g.mu.Unlock()
		d.post(letters)
	}
}

// start has the notify wait for the watchers of now; the mutex is held.
func (n *notify) start(timeout time.Duration) (letters []letter) {
	n.in.notifies[n.id] = n
	n.timer = time.AfterFunc(timeout, n.timeout)
	for k, w := range n.in.watches {
		n.waiting[k] = true
		if w.session != nil {
			letters = append(letters, letter{w.session, n.message(w)})
		}
	}
	return append(letters, n.completeIfDone()...)
}

func (n *notify) timeout() {
	g := n.in.group
	g.mu.Lock()
	var letters []letter
	if n.in.notifies[n.id] == n {
		n.timedOut = true
		letters = n.completeIfDone()
	}
	g.mu.Unlock()
	g.osd.post(letters)
}

// ack takes a watcher's answer. One to a notify that is over, or that does
// not wait for this watcher, is nothing. The mutex is held; t may be nil.
func (t *watched) ack(client wire.EntityName, input []byte) ([]letter, wire.Errno) {
	in, err := wire.DecodeNotifyAckInput(input)
	if err != nil {
		return nil, wire.EINVAL
	}
	if t == nil {
		return nil, 0
	}
	n, k := t.notifies[in.NotifyID], watchKey{client, in.Cookie}
	if n == nil || !n.waiting[k] {
		return nil, 0
	}
	if n.size += len(in.Payload); n.size > maxNotifyReplies {
		n.size -= len(in.Payload)
		return nil, wire.EMSGSIZE
	}
	delete(n.waiting, k)
	n.replies = append(n.replies, wire.NotifyReply{WatcherID: k.id(), Payload: in.Payload})
	return n.completeIfDone(), 0
}

// completeIfDone ends the notify once nobody has to answer, or the time is
// over, and tells the notifier.
func (n *notify) completeIfDone() []letter {
	if len(n.waiting) > 0 && !n.timedOut || n.in.notifies[n.id] != n {
		return nil
	}
	delete(n.in.notifies, n.id)
	n.timer.Stop()
	n.in.group.osd.notifies.Add(-1)
	n.in.forgetIfEmpty()
	r := wire.NotifyResult{Replies: n.replies}
	for k := range n.waiting {
		r.Missed = append(r.Missed, k.id())
	}
	slices.SortFunc(r.Replies, func(a, b wire.NotifyReply) int { return compareWatchers(a.WatcherID, b.WatcherID) })
	slices.SortFunc(r.Missed, compareWatchers)
	m := &wire.MWatchNotify{Event: wire.EventNotifyComplete, Cookie: n.cookie, NotifyID: n.id, Payload: r.Append(nil)}
	if len(r.Missed) > 0 {
		m.Result = -int32(wire.ETIMEDOUT)
	}
	return []letter{{n.from, m}}
}

func compareWatchers(a, b wire.WatcherID) int {
	return cmp.Or(cmp.Compare(a.GlobalID, b.GlobalID), cmp.Compare(a.Cookie, b.Cookie))
}
