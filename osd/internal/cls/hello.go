package cls

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// The class hello shows, and lets clients test, what methods can do and what
// becomes of their output.

// Bounds of hello's greetings, in bytes.
const (
	maxName     = 100
	maxGreeting = 1100
)

func greeting(in []byte) []byte {
	if len(in) == 0 {
		in = []byte("world")
	}
	return fmt.Appendf(nil, "Hello, %s!", in)
}

// origin is the caller in text.
func origin(o object) []byte {
	client, addr := o.Asker()
	return fmt.Appendf(nil, "%s %s/%d", client, addr.IP, addr.Nonce)
}

func helloSay(_ object, in []byte) ([]byte, int32) {
	if len(in) > maxName {
		return nil, fail(wire.EINVAL)
	}
	return greeting(in), 0
}

func helloRecord(o object, in []byte) ([]byte, int32) {
	if len(in) > maxName {
		return nil, fail(wire.EINVAL)
	}
	if o.exists() {
		return nil, fail(wire.EEXIST)
	}
	if e := o.writeFull(greeting(in)); e != 0 {
		return nil, fail(e)
	}
	return nil, fail(o.setXattr("said_by", origin(o)))
}

func helloReplay(o object, _ []byte) ([]byte, int32) {
	p, e := o.read(0, maxGreeting)
	return p, fail(e)
}

func helloLouder(o object, in []byte) ([]byte, int32) {
	if len(in) != 0 {
		return nil, fail(wire.EINVAL)
	}
	p, e := o.read(0, maxGreeting)
	if e != 0 {
		return nil, fail(e)
	}
	for i, c := range p {
		if 'a' <= c && c <= 'z' {
			p[i] = c - 'a' + 'A'
		}
	}
	if e := o.writeFull(p); e != 0 {
		return nil, fail(e)
	}
	return nil, fail(o.setXattr("amplified_by", origin(o)))
}

// answer is the value of the two methods that change something and answer.
const answer = 42

func helloReturn(o object, in []byte) ([]byte, int32) {
	if e := o.setXattr("foo", []byte("bar")); e != 0 {
		return nil, fail(e)
	}
	if len(in) > 0 {
		return []byte("too much input data!"), fail(wire.EINVAL)
	}
	return []byte("you might see this"), answer
}

// helloReturnMuch answers more than a vector with FlagReturnVec may.
func helloReturnMuch(o object, _ []byte) ([]byte, int32) {
	if e := o.setXattr("foo", []byte("bar")); e != 0 {
		return nil, fail(e)
	}
	return []byte(strings.Repeat("you should not see this because it is toooooo long. ", 10)), answer
}

// helloBadReader reads, and is not declared to.
func helloBadReader(o object, _ []byte) ([]byte, int32) {
	p, e := o.read(0, maxName)
	return p, fail(e)
}

// helloBadWriter writes, and is not declared to.
func helloBadWriter(o object, in []byte) ([]byte, int32) {
	return nil, fail(o.writeFull(bytes.Clone(in)))
}

var helloMethods = []Method{
	{"say_hello", true, false, helloSay},
	{"record_hello", false, true, helloRecord},
	{"write_return_data", false, true, helloReturn},
	{"write_too_much_return_data", false, true, helloReturnMuch},
	{"replay", true, false, helloReplay},
	{"turn_it_to_11", true, true, helloLouder},
	{"bad_reader", false, true, helloBadReader},
	{"bad_writer", true, false, helloBadWriter},
}

// Filter picks objects out of a listing by the value of an xattr.
type Filter struct {
	// Xattr is its name in the store: a client's xattr with an underscore
	// before it.
	Xattr string
	want  []byte
}

// ParseFilter reads what stands between the method and the cursor in the
// input of PGNLS_FILTER, and gives what is left. The filters are "plain" and
// hello's "hello.hello", which do the same; others are EINVAL.
func ParseFilter(p []byte) (f Filter, rest []byte, e wire.Errno) {
	d := wire.NewDecoder(p)
	kind := d.Str()
	f.Xattr, f.want = d.Str(), d.Bytes()
	if d.Err() != nil || kind != "plain" && kind != "hello.hello" {
		return f, nil, wire.EINVAL
	}
	return f, p[d.Off():], 0
}

// Match reports whether an object whose xattr has that value is listed. One
// without the xattr is not.
func (f *Filter) Match(value []byte) bool { return bytes.Equal(value, f.want) }
