package kv

import (
	"reflect"
	"unsafe"

	"github.com/syndtr/goleveldb/leveldb"
)

// giveBackWriteLock takes back goleveldb's write lock after OpenTransaction
// failed: in the version in use it keeps the lock when the table in memory
// can't be flushed, and every later write, and Close, would wait for ever. A
// failure before it had the lock means that the DB is closed or damaged; then
// one release too many does no harm, since nobody writes any more.
//
// Holding DB.turn, nobody else can have the lock: Compact takes it only while
// OpenTransaction isn't past it.
func giveBackWriteLock(db *leveldb.DB) {
	select {
	case <-writeLock(db):
	default:
	}
}

// writeLock is goleveldb's unexported lock, a channel with room for one.
func writeLock(db *leveldb.DB) chan struct{} {
	f := reflect.ValueOf(db).Elem().FieldByName("writeLockC")
	if !f.IsValid() || f.Type() != reflect.TypeFor[chan struct{}]() {
		panic("kv: goleveldb has another write lock than this package knows")
	}
	return *(*chan struct{})(unsafe.Pointer(f.UnsafeAddr()))
}
