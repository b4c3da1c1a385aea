package cls

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// The class lock: advisory locks on an object, any number of them by name,
// each in the xattr "lock." + name. A lock is held by lockers, who are known
// by client and cookie; those whose time is over don't count any more.

// lockType says how a lock is held (Ceph's values).
type lockType uint8

const (
	lockExclusive lockType = 1
	lockShared    lockType = 2
	lockEphemeral lockType = 3 // exclusive, and the object goes with the unlock
)

func (t lockType) valid() bool     { return t >= lockExclusive && t <= lockEphemeral }
func (t lockType) exclusive() bool { return t == lockExclusive || t == lockEphemeral }

// Flags of a lock request (Ceph's values).
const (
	lockMayRenew  = 1
	lockMustRenew = 2
)

const lockPrefix = "lock."

// maxExpiry is the last moment that a record can name.
const maxExpiry = wire.Time(1<<32-1) * 1e9

type locker struct {
	client      wire.EntityName
	cookie      string
	expires     wire.Time // 0 never
	addr        wire.Addr
	description string
}

// lockInfo is what the xattr holds.
type lockInfo struct {
	lockers []locker // ascending by client and cookie
	kind    lockType
	tag     string // of all lockers
}

func (l *lockInfo) find(client wire.EntityName, cookie string) (int, bool) {
	return slices.BinarySearchFunc(l.lockers, locker{client: client, cookie: cookie}, func(a, b locker) int {
		return cmp.Or(cmp.Compare(a.client.Type, b.client.Type), cmp.Compare(a.client.Num, b.client.Num),
			strings.Compare(a.cookie, b.cookie))
	})
}

func (l *lockInfo) put(k locker) {
	i, found := l.find(k.client, k.cookie)
	if found {
		l.lockers[i] = k
		return
	}
	l.lockers = slices.Insert(l.lockers, i, k)
}

func (l *lockInfo) encode() []byte {
	return encode(1, 1, func(e *wire.Encoder) {
		e.Count(len(l.lockers))
		for _, k := range l.lockers {
			id := e.Begin(1, 1)
			e.EntityName(k.client)
			e.Str(k.cookie)
			e.End(id)
			info := e.Begin(1, 1)
			e.Time(k.expires)
			e.Addr(k.addr)
			e.Str(k.description)
			e.End(info)
		}
		e.U8(uint8(l.kind))
		e.Str(l.tag)
	})
}

func (l *lockInfo) decode(p []byte) bool {
	return decode(p, 1, func(d *wire.Decoder, _ uint8) {
		const least = 6 + 9 + 4 + 6 + 8 + 4
		for n := d.Count(least); n > 0 && d.Err() == nil; n-- {
			var k locker
			id := d.Begin(1)
			k.client, k.cookie = d.EntityName(), d.Str()
			d.End(id)
			info := d.Begin(1)
			k.expires, k.addr, k.description = d.Time(), d.Addr(), d.Str()
			d.End(info)
			l.put(k)
		}
		l.kind, l.tag = lockType(d.U8()), d.Str()
	})
}

// readLock gives a lock without those whose time is over. A lock that is not
// there is a lock that nobody has.
func readLock(o object, name string) (lockInfo, wire.Errno) {
	var l lockInfo
	p, e := o.xattr(lockPrefix + name)
	if e == wire.ENODATA {
		return l, 0
	}
	if e != 0 {
		return l, e
	}
	if !l.decode(p) {
		return l, wire.EIO
	}
	now := o.Now()
	l.lockers = slices.DeleteFunc(l.lockers, func(k locker) bool { return k.expires != 0 && k.expires < now })
	return l, 0
}

func writeLock(o object, name string, l *lockInfo) wire.Errno {
	return o.setXattr(lockPrefix+name, l.encode())
}

func lockLock(o object, in []byte) ([]byte, int32) {
	var name, tag string
	var kind lockType
	var k locker
	var duration wire.Time
	var flags uint8
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) {
		name, kind, k.cookie, tag = d.Str(), lockType(d.U8()), d.Str(), d.Str()
		k.description, duration, flags = d.Str(), d.Time(), d.U8()
	}) {
		return nil, fail(wire.EINVAL)
	}
	may, must := flags&lockMayRenew != 0, flags&lockMustRenew != 0
	if !kind.valid() || name == "" || may && must {
		return nil, fail(wire.EINVAL)
	}
	l, e := readLock(o, name)
	if e != 0 && e != wire.ENOENT {
		return nil, fail(e)
	}
	if len(l.lockers) > 0 && l.tag != tag {
		return nil, fail(wire.EBUSY)
	}
	k.client, k.addr = o.Asker()
	// Which protocol the client speaks depends on the OSD, and does not
	// identify it.
	k.addr.Type = wire.AddrLegacy
	i, mine := l.find(k.client, k.cookie)
	switch {
	case mine && !may && !must:
		return nil, fail(wire.EEXIST)
	case mine:
		l.lockers = slices.Delete(l.lockers, i, i+1)
	case must:
		return nil, fail(wire.ENOENT)
	}
	if len(l.lockers) > 0 && (kind.exclusive() || l.kind != kind) {
		return nil, fail(wire.EBUSY)
	}
	if duration != 0 {
		k.expires = min(o.Now()+duration, maxExpiry)
	}
	l.kind, l.tag = kind, tag
	l.put(k)
	return nil, fail(writeLock(o, name, &l))
}

func lockUnlock(o object, in []byte) ([]byte, int32) {
	var name, cookie string
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) { name, cookie = d.Str(), d.Str() }) {
		return nil, fail(wire.EINVAL)
	}
	client, _ := o.Asker()
	return nil, fail(removeLocker(o, name, client, cookie))
}

func lockBreak(o object, in []byte) ([]byte, int32) {
	var name, cookie string
	var client wire.EntityName
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) { name, client, cookie = d.Str(), d.EntityName(), d.Str() }) {
		return nil, fail(wire.EINVAL)
	}
	return nil, fail(removeLocker(o, name, client, cookie))
}

func removeLocker(o object, name string, client wire.EntityName, cookie string) wire.Errno {
	l, e := readLock(o, name)
	if e != 0 {
		return e
	}
	i, found := l.find(client, cookie)
	if !found {
		return wire.ENOENT
	}
	l.lockers = slices.Delete(l.lockers, i, i+1)
	if l.kind == lockEphemeral {
		return o.remove()
	}
	return writeLock(o, name, &l)
}

func lockGetInfo(o object, in []byte) ([]byte, int32) {
	var name string
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) { name = d.Str() }) {
		return nil, fail(wire.EINVAL)
	}
	l, e := readLock(o, name)
	if e != 0 {
		return nil, fail(e)
	}
	return l.encode(), 0 // the answer has the layout of what is stored
}

func lockList(o object, _ []byte) ([]byte, int32) {
	all, e := o.xattrs()
	if e != 0 {
		return nil, fail(e)
	}
	var names []string
	for _, kv := range all {
		if name, ok := strings.CutPrefix(kv.Key, lockPrefix); ok {
			names = append(names, name)
		}
	}
	return encode(1, 1, func(e *wire.Encoder) { e.Strs(names) }), 0
}

// heldLock finds the lock that the asker has to hold with the given type,
// cookie and tag.
func heldLock(o object, name string, kind lockType, cookie, tag string) (l lockInfo, at int, e wire.Errno) {
	if !kind.valid() || name == "" {
		return l, 0, wire.EINVAL
	}
	if l, e = readLock(o, name); e != 0 {
		return l, 0, e
	}
	client, _ := o.Asker()
	at, found := l.find(client, cookie)
	if !found || l.kind != kind || l.tag != tag {
		return l, 0, wire.EBUSY
	}
	return l, at, 0
}

func lockAssert(o object, in []byte) ([]byte, int32) {
	var name, cookie, tag string
	var kind lockType
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) {
		name, kind, cookie, tag = d.Str(), lockType(d.U8()), d.Str(), d.Str()
	}) {
		return nil, fail(wire.EINVAL)
	}
	_, _, e := heldLock(o, name, kind, cookie, tag)
	return nil, fail(e)
}

func lockSetCookie(o object, in []byte) ([]byte, int32) {
	var name, cookie, tag, fresh string
	var kind lockType
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) {
		name, kind, cookie, tag, fresh = d.Str(), lockType(d.U8()), d.Str(), d.Str(), d.Str()
	}) {
		return nil, fail(wire.EINVAL)
	}
	l, at, e := heldLock(o, name, kind, cookie, tag)
	if e != 0 {
		return nil, fail(e)
	}
	k := l.lockers[at]
	if _, taken := l.find(k.client, fresh); taken {
		return nil, fail(wire.EBUSY)
	}
	l.lockers = slices.Delete(l.lockers, at, at+1)
	k.cookie = fresh
	l.put(k)
	return nil, fail(writeLock(o, name, &l))
}

var lockMethods = []Method{
	{"lock", true, true, lockLock},
	{"unlock", true, true, lockUnlock},
	{"break_lock", true, true, lockBreak},
	{"get_info", true, false, lockGetInfo},
	{"list_locks", true, false, lockList},
	{"assert_locked", true, false, lockAssert},
	{"set_cookie", true, true, lockSetCookie},
}
