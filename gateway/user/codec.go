package user

import (
	"encoding/binary"

	"github.com/spirula/spirula/rados/wire"
)

const (
	recordVersion = 1
	recordOldest  = 1 // the oldest reader that copes
	flagAdmin     = 1
	recordHead    = 6 // version, oldest, length
)

func seal(body []byte) []byte {
	b := make([]byte, 0, recordHead+len(body)+4)
	b = append(b, recordVersion, recordOldest)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, wire.CRC32C(b))
}

// unseal checks a record and gives its body.
func unseal(b []byte, what string) ([]byte, error) {
	if len(b) < recordHead+4 {
		return nil, wire.Errorf("user.decode", what+": short record", wire.EIO)
	}
	n := binary.LittleEndian.Uint32(b[2:])
	if uint64(n) != uint64(len(b)-recordHead-4) {
		return nil, wire.Errorf("user.decode", what+": wrong length", wire.EIO)
	}
	end := len(b) - 4
	if binary.LittleEndian.Uint32(b[end:]) != wire.CRC32C(b[:end]) {
		return nil, wire.Errorf("user.decode", what+": wrong checksum", wire.EIO)
	}
	if b[1] > recordVersion {
		return nil, wire.Errorf("user.decode", what+": written by a newer version", wire.EOPNOTSUPP)
	}
	return b[recordHead:end], nil
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

func encodeUser(u *User) []byte {
	b := appendString(nil, u.Name)
	b = binary.LittleEndian.AppendUint32(b, u.UID)
	b = binary.LittleEndian.AppendUint32(b, u.GID)
	var flags uint32
	if u.Admin {
		flags |= flagAdmin
	}
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(u.Created))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(u.Keys)))
	for _, k := range u.Keys {
		b = appendString(b, k.Access)
		b = appendString(b, string(k.Secret))
		b = binary.LittleEndian.AppendUint64(b, uint64(k.Created))
	}
	return seal(b)
}

func encodeKey(name string) []byte { return seal(appendString(nil, name)) }

// reader takes fields off a body; after the first that is not there all are
// zero and bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (r *reader) time() wire.Time {
	if p := r.take(8); p != nil {
		return wire.Time(binary.LittleEndian.Uint64(p))
	}
	return 0
}

func (r *reader) string(limit uint32) string {
	n := r.u32()
	if n > limit {
		r.bad = true
		return ""
	}
	return string(r.take(int(n)))
}

// decodeUser reads a user's record. Bytes that a newer version appended are
// left alone.
func decodeUser(b []byte) (*User, error) {
	body, err := unseal(b, "user")
	if err != nil {
		return nil, err
	}
	r := reader{b: body}
	u := &User{Name: r.string(MaxName), UID: r.u32(), GID: r.u32()}
	u.Admin = r.u32()&flagAdmin != 0
	u.Created = r.time()
	n := r.u32()
	if n > MaxKeys {
		r.bad = true
		n = 0
	}
	for range n {
		u.Keys = append(u.Keys, Key{r.string(maxAccess), Secret(r.string(maxSecret)), r.time()})
	}
	if r.bad || !ValidName(u.Name) {
		return nil, wire.Errorf("user.decode", "user: malformed body", wire.EIO)
	}
	return u, nil
}

func decodeKey(b []byte) (string, error) {
	body, err := unseal(b, "key")
	if err != nil {
		return "", err
	}
	r := reader{b: body}
	name := r.string(MaxName)
	if r.bad || !ValidName(name) {
		return "", wire.Errorf("user.decode", "key: malformed body", wire.EIO)
	}
	return name, nil
}
