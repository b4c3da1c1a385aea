package cls

import (
	"bytes"

	"github.com/spirula/spirula/rados/wire"
)

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
