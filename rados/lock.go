package rados

import (
	"context"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// The lock class and its kinds of lock (Ceph's values).
const (
	lockClass     = "lock"
	lockExclusive = 1
	lockShared    = 2
)

// LockFlag says what LockExclusive and LockShared do with a lock that the
// caller has already (Ceph's values).
type LockFlag uint8

// The lock flags. Without any the caller's own lock is EEXIST.
const (
	LockMayRenew  LockFlag = 1 // begin its duration anew
	LockMustRenew LockFlag = 2 // likewise, and ENOENT if the caller has none
)

// LockOptions qualify a lock.
type LockOptions struct {
	// Tag has to be equal for all who share a lock, or it is EBUSY.
	Tag         string
	Description string
	// Duration is when the lock ends by itself; 0: never.
	Duration time.Duration
	Flags    LockFlag
}

// LockExclusive takes an advisory lock of an object, which is made if need be,
// for this client and cookie alone. EBUSY: others have it. EEXIST: the caller
// has it.
func (x *IOCtx) LockExclusive(ctx context.Context, object, name, cookie string, opts LockOptions) error {
	return x.lock(ctx, object, name, cookie, lockExclusive, opts)
}

// LockShared takes an advisory lock beside others who share it. EBUSY: somebody
// has it for himself, or with another tag.
func (x *IOCtx) LockShared(ctx context.Context, object, name, cookie string, opts LockOptions) error {
	return x.lock(ctx, object, name, cookie, lockShared, opts)
}

func (x *IOCtx) lock(ctx context.Context, object, name, cookie string, kind uint8, opts LockOptions) error {
	var e wire.Encoder
	m := e.Begin(1, 1)
	e.Str(name)
	e.U8(kind)
	e.Str(cookie)
	e.Str(opts.Tag)
	e.Str(opts.Description)
	e.Time(wire.Time(opts.Duration))
	e.U8(uint8(opts.Flags))
	e.End(m)
	return x.call(ctx, "lock", object, "lock", e.B)
}

// call runs a method of the lock class that writes.
func (x *IOCtx) call(ctx context.Context, what, object, method string, input []byte) error {
	return x.write(ctx, what, object, wire.Op{Code: wire.OpCall, Name: lockClass, Name2: method, Value: input})
}

// Unlock gives a lock back. ENOENT: the caller does not have it.
func (x *IOCtx) Unlock(ctx context.Context, object, name, cookie string) error {
	var e wire.Encoder
	m := e.Begin(1, 1)
	e.Str(name)
	e.Str(cookie)
	e.End(m)
	return x.call(ctx, "unlock", object, "unlock", e.B)
}

// BreakLock takes a lock from another client. ENOENT: it does not have it. The
// other is not told; who must not write any more has to be blocklisted first.
func (x *IOCtx) BreakLock(ctx context.Context, object, name string, client wire.EntityName, cookie string) error {
	var e wire.Encoder
	m := e.Begin(1, 1)
	e.Str(name)
	e.EntityName(client)
	e.Str(cookie)
	e.End(m)
	return x.call(ctx, "breaklock", object, "break_lock", e.B)
}

// Locker is one who has a lock.
type Locker struct {
	Client      wire.EntityName
	Cookie      string
	Addr        wire.Addr
	Description string
	Expires     time.Time // zero: never
}

// Lockers is the state of a lock.
type Lockers struct {
	Exclusive bool
	Tag       string
	List      []Locker // empty: nobody has it
}

// ListLockers tells who has a lock. ENOENT: there is no such object.
func (x *IOCtx) ListLockers(ctx context.Context, object, name string) (Lockers, error) {
	var e wire.Encoder
	m := e.Begin(1, 1)
	e.Str(name)
	e.End(m)
	out, err := x.Exec(ctx, object, lockClass, "get_info", e.B)
	if err != nil {
		return Lockers{}, wire.Wrap("rados.listlockers", object, err)
	}
	l, err := decodeLockers(out)
	return l, wire.Wrap("rados.listlockers", object, err)
}

// decodeLockers reads cls_lock_get_info_reply.
func decodeLockers(b []byte) (l Lockers, err error) {
	d := wire.NewDecoder(b)
	outer := d.Begin(1)
	for n := d.Count(2*6 + 9 + 4 + 8 + 1 + 4); n > 0 && d.Err() == nil; n-- {
		var k Locker
		id := d.Begin(1)
		k.Client, k.Cookie = d.EntityName(), d.Str()
		d.End(id)
		info := d.Begin(1)
		if t := d.Time(); t != 0 {
			k.Expires = t.Std()
		}
		k.Addr, k.Description = d.Addr(), d.Str()
		d.End(info)
		l.List = append(l.List, k)
	}
	kind := d.U8()
	l.Exclusive, l.Tag = kind != lockShared && len(l.List) > 0, d.Str()
	d.End(outer)
	return l, d.Err()
}

// ListLocks gives the names of the locks that an object has.
func (x *IOCtx) ListLocks(ctx context.Context, object string) ([]string, error) {
	out, err := x.Exec(ctx, object, lockClass, "list_locks", nil)
	if err != nil {
		return nil, wire.Wrap("rados.listlocks", object, err)
	}
	d := wire.NewDecoder(out)
	b := d.Begin(1)
	names := d.Strs()
	d.End(b)
	return names, wire.Wrap("rados.listlocks", object, d.Err())
}
