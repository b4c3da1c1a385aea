package cls

import (
	"github.com/spirula/spirula/rados/wire"
)

// Kinds of errors that only classes give.
const (
	eNoMsg   = wire.Errno(42) // cas: other data under the same name
	eNoLink  = wire.Errno(67) // cas: no such reference
	eBadData = wire.Errno(74) // numops: the stored value is no number
)

// Context is what a method has of the request and the object.
type Context interface {
	// Do runs one operation on the object, as if it stood in the vector in
	// place of the call. The value is the operation's: a negative Errno, or
	// not. Data in the result belong to the caller.
	Do(op *wire.Op) (wire.OpResult, int32)
	// Asker is the client that calls, and its address.
	Asker() (wire.EntityName, wire.Addr)
	// Now is the time of the call, by the OSD's clock.
	Now() wire.Time
	// Serial is text that no other call on the object gets, nor this one a
	// second time.
	Serial() string
	// Unique is as good as random: no other call on any object gets it.
	Unique() [32]byte
}

// Method is one method of a class.
type Method struct {
	Name   string
	Reads  bool // it may read the object
	Writes bool // it may change the object
	run    func(o object, in []byte) (out []byte, rval int32)
}

// Run calls the method. rval is its value: a negative Errno, or not.
func (m *Method) Run(c Context, in []byte) (out []byte, rval int32) { return m.run(object{c}, in) }

// classes is every class there is.
var classes = map[string][]Method{
	"lock":     lockMethods,
	"version":  versionMethods,
	"refcount": refcountMethods,
	"log":      logMethods,
	"numops":   numopsMethods,
	"cas":      casMethods,
	"hello":    helloMethods,
	"cmpomap":  cmpomapMethods,
	"rbd":      rbdMethods,
}

// Lookup finds a method; nil if there is no such class or method.
func Lookup(class, method string) *Method {
	ms := classes[class]
	for i := range ms {
		if ms[i].Name == method {
			return &ms[i]
		}
	}
	return nil
}

// fail is the value of a method that fails with e, or 0.
func fail(e wire.Errno) int32 { return -int32(e) }

// object is the Context in the words of methods.
type object struct{ Context }

func (o object) do(op wire.Op) (wire.OpResult, wire.Errno) {
	res, rval := o.Do(&op)
	if rval < 0 {
		return res, wire.Errno(-rval)
	}
	return res, 0
}

func (o object) exists() bool {
	_, e := o.do(wire.Op{Code: wire.OpStat})
	return e == 0
}

// read gives up to n bytes from off; n 0 is to the end.
func (o object) read(off, n uint64) ([]byte, wire.Errno) {
	res, e := o.do(wire.Op{Code: wire.OpRead, Off: off, Len: n})
	p := append([]byte(nil), res.Data.Bytes()...)
	res.Data.Release()
	return p, e
}

func (o object) writeFull(p []byte) wire.Errno {
	_, e := o.do(wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf(p)})
	return e
}

func (o object) remove() wire.Errno {
	_, e := o.do(wire.Op{Code: wire.OpDelete})
	return e
}

func (o object) xattr(name string) ([]byte, wire.Errno) {
	res, e := o.do(wire.Op{Code: wire.OpGetXattr, Name: name})
	return res.Value, e
}

func (o object) xattrs() ([]wire.KV, wire.Errno) {
	res, e := o.do(wire.Op{Code: wire.OpGetXattrs})
	return res.KVs, e
}

func (o object) setXattr(name string, v []byte) wire.Errno {
	_, e := o.do(wire.Op{Code: wire.OpSetXattr, Name: name, Value: v})
	return e
}

func (o object) omapHeader() ([]byte, wire.Errno) {
	res, e := o.do(wire.Op{Code: wire.OpOmapGetHeader})
	return res.Value, e
}

func (o object) setOmapHeader(p []byte) wire.Errno {
	_, e := o.do(wire.Op{Code: wire.OpOmapSetHeader, Value: p})
	return e
}

// omapGet gives those of keys, ascending, that are there.
func (o object) omapGet(keys []string) ([]wire.KV, wire.Errno) {
	res, e := o.do(wire.Op{Code: wire.OpOmapGetValsByKeys, Keys: keys})
	return res.KVs, e
}

func (o object) omapList(after, prefix string, max uint64) (kvs []wire.KV, more bool, e wire.Errno) {
	res, e := o.do(wire.Op{Code: wire.OpOmapGetVals, Name: after, Name2: prefix, Num: max})
	return res.KVs, res.More, e
}

func (o object) omapKeys(after string, max uint64) ([]string, wire.Errno) {
	res, e := o.do(wire.Op{Code: wire.OpOmapGetKeys, Name: after, Num: max})
	return res.Keys, e
}

// omapSet sets entries, ascending by key.
func (o object) omapSet(kvs ...wire.KV) wire.Errno {
	_, e := o.do(wire.Op{Code: wire.OpOmapSetVals, KVs: kvs})
	return e
}

func (o object) omapRm(key string) wire.Errno {
	_, e := o.do(wire.Op{Code: wire.OpOmapRmKeys, Keys: []string{key}})
	return e
}

// omapRmRange removes keys k with begin <= k < end.
func (o object) omapRmRange(begin, end string) wire.Errno {
	_, e := o.do(wire.Op{Code: wire.OpOmapRmKeyRange, Name: begin, Name2: end})
	return e
}

// decode reads a class's record from p: body with a Decoder that stands in
// its versioned block. False: p is none.
func decode(p []byte, known uint8, body func(d *wire.Decoder, version uint8)) bool {
	d := wire.NewDecoder(p)
	b := d.Begin(known)
	body(d, b.Version)
	d.End(b)
	return d.Err() == nil
}

// encode makes a record: a versioned block around what body appends.
func encode(version, compat uint8, body func(e *wire.Encoder)) []byte {
	var e wire.Encoder
	m := e.Begin(version, compat)
	body(&e)
	e.End(m)
	return e.B
}
