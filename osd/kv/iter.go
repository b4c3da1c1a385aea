package kv

import (
	"github.com/syndtr/goleveldb/leveldb/iterator"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// Iter walks over the keys of a range as they were when it was made. It is
// meant to live shortly: while it does, tables that compaction replaced can't
// be removed. Take some hundred keys, close it, and go on with a new one from
// the last key. Not for several goroutines at once.
//
// A new Iter stands before the first key. The movements say whether there is a
// key where they came to.
type Iter struct {
	db *DB // nil when there is nothing to leave: refused, or closed
	it iterator.Iterator
}

// NewIter makes an iterator over first <= key < end. nil as first or end is no
// bound on that side.
func (db *DB) NewIter(first, end []byte) *Iter {
	if err := db.enter("kv.iter"); err != nil {
		return &Iter{it: iterator.NewEmptyIterator(err)}
	}
	db.m.Iters.Add(1)
	return &Iter{db, db.ldb.NewIterator(&util.Range{Start: first, Limit: end}, nil)}
}

// Seek moves to the first key at or after key.
func (i *Iter) Seek(key []byte) bool { return i.it.Seek(key) }

// First moves to the first key of the range.
func (i *Iter) First() bool { return i.it.First() }

// Last moves to the last key of the range.
func (i *Iter) Last() bool { return i.it.Last() }

// Next moves to the next key; from a new Iter to the first.
func (i *Iter) Next() bool { return i.it.Next() }

// Prev moves to the key before.
func (i *Iter) Prev() bool { return i.it.Prev() }

// Valid says whether the iterator stands on a key.
func (i *Iter) Valid() bool { return i.it.Valid() }

// Key is the key at hand, valid until the next movement.
func (i *Iter) Key() []byte { return i.it.Key() }

// Value is the value at hand, valid until the next movement.
func (i *Iter) Value() []byte { return i.it.Value() }

// Err is why the last movement found no key, nil if it met the end of the
// range. Kinds: EIO (damage, which is also reported as fatal), ESHUTDOWN if the
// DB was closed when the iterator was made.
func (i *Iter) Err() error {
	if i.db == nil {
		return i.it.Error()
	}
	return i.db.readError("kv.iter", nil, i.it.Error())
}

// Close ends the iterator and gives Err. It may be called twice.
func (i *Iter) Close() error {
	err := i.Err()
	i.it.Release()
	if i.db == nil {
		return err
	}
	i.db.leave()
	i.db, i.it = nil, iterator.NewEmptyIterator(err)
	return err
}
