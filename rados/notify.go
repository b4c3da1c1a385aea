package rados

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// notify is a Notify under way.
type notify struct {
	complete chan *wire.MWatchNotify
}

// Notify sends payload to everyone who watches an object, and waits until all
// have answered, or for timeout (10 s if zero; whole seconds). The result has
// the answers and, with ETIMEDOUT, those who gave none. ENOENT: there is no
// such object. When a session is lost meanwhile it is sent again, so a watcher
// may receive it twice.
func (x *IOCtx) Notify(ctx context.Context, object string, payload []byte, timeout time.Duration) (wire.NotifyResult, error) {
	p := x.Pool()
	if p == nil {
		return wire.NotifyResult{}, wire.Errorf("rados.notify: the pool is gone", x.name, wire.ENOENT)
	}
	if timeout <= 0 {
		timeout = defaultNotifyTimeout
	}
	c, cookie := x.c, newCookie()
	ctx, cancel := c.clientContext(ctx)
	defer cancel()
	n := &notify{complete: make(chan *wire.MWatchNotify, 4)}
	place := &linger{pool: x.pool, hash: p.HashName(x.namespace, x.key, object)}
	defer c.follow(place)()
	c.lingerMu.Lock()
	c.notifies[cookie] = n
	c.lingerMu.Unlock()
	defer func() {
		c.lingerMu.Lock()
		defer c.lingerMu.Unlock()
		delete(c.notifies, cookie)
	}()
	input := wire.NotifyInput{Timeout: uint32((timeout + time.Second - 1) / time.Second), Payload: payload}.Append(nil)
	for {
		r, err := x.Do(ctx, &Op{Object: object, Ops: []wire.Op{{Code: wire.OpNotify, Num: cookie, Value: input}}})
		if err != nil {
			return wire.NotifyResult{}, wire.Wrap("rados.notify", object, err)
		}
		var id uint64
		if len(r.Results) == 1 && len(r.Results[0].Value) == 8 {
			id = binary.LittleEndian.Uint64(r.Results[0].Value)
		}
		m, err := n.wait(ctx, place, id)
		if err != nil {
			return wire.NotifyResult{}, wire.Wrap("rados.notify", object, err)
		}
		if m == nil {
			continue
		}
		res, err := wire.DecodeNotifyResult(m.Payload)
		if err == nil && m.Result < 0 {
			err = wire.Errno(-m.Result)
		}
		return res, wire.Wrap("rados.notify", object, err)
	}
}

// wait waits for the end of notify id; nil if the OSD may have forgotten it.
func (n *notify) wait(ctx context.Context, place *linger, id uint64) (*wire.MWatchNotify, error) {
	for {
		select {
		case m := <-n.complete:
			if id == 0 || m.NotifyID == id {
				return m, nil
			}
		case <-place.lost:
			return nil, nil
		case <-ctx.Done():
			return nil, ContextError("rados.notify", "", ctx.Err())
		}
	}
}

// NotifyAck answers a notification by its numbers; see Notification.Ack.
func (x *IOCtx) NotifyAck(ctx context.Context, object string, id, cookie uint64, payload []byte) error {
	in := wire.NotifyAckInput{NotifyID: id, Cookie: cookie, Payload: payload}.Append(nil)
	_, err := x.Do(ctx, &Op{Object: object, Ops: []wire.Op{{Code: wire.OpNotifyAck, Value: in}}})
	return wire.Wrap("rados.notifyack", object, err)
}

// ListWatchers gives the watches of an object. ENOENT: there is no such object.
func (x *IOCtx) ListWatchers(ctx context.Context, object string) ([]wire.Watcher, error) {
	r, err := x.Do(ctx, &Op{Object: object, Ops: []wire.Op{{Code: wire.OpListWatchers}}})
	if err != nil {
		return nil, wire.Wrap("rados.listwatchers", object, err)
	}
	return r.Results[0].Watchers, nil
}
