package cls

import (
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

func lockIn(name string, kind lockType, cookie, tag, desc string, duration wire.Time, flags uint8) []byte {
	return enc(name, uint8(kind), cookie, tag, desc, duration, flags)
}

// TestLockGolden has what a Ceph 16.2 stored and answered for the same
// request.
func TestLockGolden(t *testing.T) {
	o := newThing()
	o.client.Num = 0x3808
	is(t, o, 0, "lock", "lock", lockIn("L", lockExclusive, "c", "t", "d", 0, 0))
	const stored = "010154000000 01000000 01010e000000 080838000000000000 0100000063 010130000000 0000000000000000" +
		"01 01011c000000 01000000 7642ef04 10000000 02000000 7f000001 0000000000000000 0100000064 01 0100000074"
	golden(t, "stored", o.xattrs["lock.L"], stored)
	golden(t, "get_info", is(t, o, 0, "lock", "get_info", enc("L")), stored)
	golden(t, "list_locks", is(t, o, 0, "lock", "list_locks", nil), "010109000000 01000000 010000004c")
	golden(t, "of a lock that is not there", is(t, o, 0, "lock", "get_info", enc("M")), "010109000000 00000000 00 00000000")
}

func TestLock(t *testing.T) {
	o := newThing()
	lock := func(want int32, kind lockType, cookie, tag string, flags uint8) {
		t.Helper()
		is(t, o, want, "lock", "lock", lockIn("L", kind, cookie, tag, "", 0, flags))
	}
	is(t, o, -2, "lock", "get_info", enc("L"))
	is(t, o, -2, "lock", "unlock", enc("L", "c"))
	is(t, o, -22, "lock", "lock", lockIn("", lockExclusive, "c", "", "", 0, 0))
	is(t, o, -22, "lock", "lock", []byte("x"))
	lock(-22, 9, "c", "", 0)
	lock(-22, lockExclusive, "c", "", 3)
	lock(-2, lockExclusive, "c", "", lockMustRenew)
	lock(0, lockExclusive, "c", "t", 0)
	lock(-17, lockExclusive, "c", "t", 0)
	lock(-16, lockExclusive, "c", "u", 0)
	lock(0, lockExclusive, "c", "t", lockMayRenew)
	lock(0, lockExclusive, "c", "t", lockMustRenew)
	lock(-16, lockExclusive, "d", "t", 0)
	lock(-16, lockShared, "d", "t", 0)
	lock(0, lockShared, "c", "t", lockMayRenew) // the only locker changes the type
	lock(0, lockShared, "d", "t", 0)
	lock(-16, lockExclusive, "d", "t", lockMayRenew)
	is(t, o, 0, "lock", "assert_locked", enc("L", uint8(lockShared), "d", "t"))
	is(t, o, -16, "lock", "assert_locked", enc("L", uint8(lockExclusive), "d", "t"))
	is(t, o, -16, "lock", "assert_locked", enc("L", uint8(lockShared), "x", "t"))
	is(t, o, -16, "lock", "assert_locked", enc("L", uint8(lockShared), "d", "x"))
	is(t, o, -22, "lock", "assert_locked", enc("", uint8(lockShared), "d", "t"))
	is(t, o, -16, "lock", "set_cookie", enc("L", uint8(lockShared), "d", "t", "c"))
	is(t, o, 0, "lock", "set_cookie", enc("L", uint8(lockShared), "d", "t", "e"))
	is(t, o, -2, "lock", "unlock", enc("L", "d"))
	is(t, o, 0, "lock", "unlock", enc("L", "e"))
	me := o.client
	o.client.Num++
	is(t, o, -2, "lock", "unlock", enc("L", "c"))
	is(t, o, 0, "lock", "break_lock", enc("L", me, "c"))
	lock(0, lockEphemeral, "c", "x", 0)
	is(t, o, 0, "lock", "unlock", enc("L", "c"))
	if o.there {
		t.Fatal("the object of an ephemeral lock stays")
	}
}

func TestLockExpires(t *testing.T) {
	o := newThing()
	is(t, o, 0, "lock", "lock", lockIn("L", lockExclusive, "c", "", "", 5e9, 0))
	o.client.Num++
	is(t, o, -16, "lock", "lock", lockIn("L", lockExclusive, "c", "", "", 0, 0))
	o.now += 5e9
	is(t, o, -16, "lock", "lock", lockIn("L", lockExclusive, "c", "", "", 0, 0))
	o.now++
	is(t, o, 0, "lock", "lock", lockIn("L", lockExclusive, "c", "other", "", maxExpiry, 0))
	o.client.Num++
	o.now += 1000e9
	is(t, o, -16, "lock", "lock", lockIn("L", lockExclusive, "c", "other", "", 0, 0))
}
