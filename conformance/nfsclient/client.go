// Package nfsclient is a small NFSv3 client for tests: it says what it is told
// to say, UNSTABLE or not, and gives back what the server said, verifiers
// included. It shares no code with the gateway it judges.
package nfsclient

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Status is an NFS or MOUNT status other than OK.
type Status uint32

// Error prints the number (RFC 1813 has the names).
func (s Status) Error() string { return fmt.Sprintf("NFS status %d", uint32(s)) }

// Handle is a file handle.
type Handle []byte

// Attr are the attributes that tests look at.
type Attr struct {
	Type, Mode, Nlink, UID, GID uint32
	Size, Fileid                uint64
	Mtime, Ctime                uint64 // seconds << 32 | nanoseconds
}

// Client is one connection. It runs one call at a time.
type Client struct {
	conn     net.Conn
	uid, gid uint32
	xid      atomic.Uint32
	timeout  time.Duration
}

// Dial connects as a user.
func Dial(addr string, uid, gid uint32) (*Client, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, uid: uid, gid: gid, timeout: 30 * time.Second}
	c.xid.Store(uint32(time.Now().UnixNano()))
	return c, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Enc builds arguments.
type Enc []byte

// U32 appends a number.
func (e Enc) U32(v uint32) Enc { return binary.BigEndian.AppendUint32(e, v) }

// U64 appends a number.
func (e Enc) U64(v uint64) Enc { return binary.BigEndian.AppendUint64(e, v) }

// Bytes appends an opaque or a string.
func (e Enc) Bytes(b []byte) Enc {
	e = append(e.U32(uint32(len(b))), b...)
	for len(e)%4 != 0 {
		e = append(e, 0)
	}
	return e
}

// Dec takes a result apart; Err tells of a short one.
type Dec struct {
	B   []byte
	Err error
}

// U32 takes a number.
func (d *Dec) U32() uint32 {
	if len(d.B) < 4 {
		d.Err = io.ErrUnexpectedEOF
		return 0
	}
	v := binary.BigEndian.Uint32(d.B)
	d.B = d.B[4:]
	return v
}

// U64 takes a number.
func (d *Dec) U64() uint64 { return uint64(d.U32())<<32 | uint64(d.U32()) }

// Bytes takes an opaque or a string.
func (d *Dec) Bytes() []byte {
	n := int(d.U32())
	if n > len(d.B) {
		d.Err = io.ErrUnexpectedEOF
		return nil
	}
	v := d.B[:n]
	d.B = d.B[min((n+3)&^3, len(d.B)):]
	return v
}

// Call runs one procedure and gives its result. RPC refusals are errors.
func (c *Client) Call(prog, vers, proc uint32, args Enc) (*Dec, error) {
	xid := c.xid.Add(1)
	cred := Enc{}.U32(0).Bytes([]byte("test")).U32(c.uid).U32(c.gid).U32(0)
	msg := Enc{}.U32(xid).U32(0).U32(2).U32(prog).U32(vers).U32(proc).U32(1).Bytes(cred).U32(0).U32(0)
	msg = append(msg, args...)
	out := Enc{}.U32(uint32(len(msg)) | 1<<31)
	c.conn.SetDeadline(time.Now().Add(c.timeout))
	if _, err := c.conn.Write(append(out, msg...)); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:]) &^ (1 << 31)
	if n > 4<<20 {
		return nil, errors.New("a reply of more than 4 MiB")
	}
	d := &Dec{B: make([]byte, n)}
	if _, err := io.ReadFull(c.conn, d.B); err != nil {
		return nil, err
	}
	if got := d.U32(); got != xid {
		return nil, fmt.Errorf("reply to xid %d, want %d", got, xid)
	}
	if d.U32() != 1 || d.U32() != 0 {
		return nil, errors.New("the call was denied")
	}
	d.U32()
	d.Bytes()
	if s := d.U32(); s != 0 {
		return nil, fmt.Errorf("the call was not run: accept status %d", s)
	}
	return d, d.Err
}

const (
	progNFS   = 100003
	progMount = 100005
)

// nfs runs an NFS procedure and takes its status off.
func (c *Client) nfs(proc uint32, args Enc) (*Dec, error) {
	d, err := c.Call(progNFS, 3, proc, args)
	if err != nil {
		return nil, err
	}
	if s := d.U32(); s != 0 {
		return d, Status(s)
	}
	return d, d.Err
}

// Mount gives the handle of an exported directory.
func (c *Client) Mount(path string) (Handle, error) {
	d, err := c.Call(progMount, 3, 1, Enc{}.Bytes([]byte(path)))
	if err != nil {
		return nil, err
	}
	if s := d.U32(); s != 0 {
		return nil, Status(s)
	}
	return Handle(d.Bytes()), d.Err
}

func (d *Dec) attr() (a Attr) {
	a.Type, a.Mode, a.Nlink, a.UID, a.GID = d.U32(), d.U32(), d.U32(), d.U32(), d.U32()
	a.Size = d.U64()
	d.U64() // used
	d.U64() // rdev
	d.U64() // fsid
	a.Fileid = d.U64()
	d.U64() // atime
	a.Mtime, a.Ctime = d.U64(), d.U64()
	return a
}

func (d *Dec) postAttr() (a Attr) {
	if d.U32() == 1 {
		a = d.attr()
	}
	return a
}

func (d *Dec) wcc() Attr {
	if d.U32() == 1 {
		d.U64()
		d.U64()
		d.U64()
	}
	return d.postAttr()
}

// GetAttr is GETATTR.
func (c *Client) GetAttr(h Handle) (Attr, error) {
	d, err := c.nfs(1, Enc{}.Bytes(h))
	if err != nil {
		return Attr{}, err
	}
	return d.attr(), d.Err
}

// Lookup is LOOKUP.
func (c *Client) Lookup(dir Handle, name string) (Handle, Attr, error) {
	d, err := c.nfs(3, Enc{}.Bytes(dir).Bytes([]byte(name)))
	if err != nil {
		return nil, Attr{}, err
	}
	h := Handle(d.Bytes())
	return h, d.postAttr(), d.Err
}

// noAttr is a sattr3 that sets nothing.
func noAttr(e Enc) Enc { return e.U32(0).U32(0).U32(0).U32(0).U32(0).U32(0) }

// Create is CREATE, UNCHECKED, with nothing set.
func (c *Client) Create(dir Handle, name string) (Handle, error) {
	return c.made(c.nfs(8, noAttr(Enc{}.Bytes(dir).Bytes([]byte(name)).U32(0))))
}

// Mkdir is MKDIR.
func (c *Client) Mkdir(dir Handle, name string) (Handle, error) {
	return c.made(c.nfs(9, noAttr(Enc{}.Bytes(dir).Bytes([]byte(name)))))
}

func (c *Client) made(d *Dec, err error) (Handle, error) {
	if err != nil {
		return nil, err
	}
	if d.U32() != 1 {
		return nil, errors.New("no handle came back")
	}
	return Handle(d.Bytes()), d.Err
}

// Remove is REMOVE.
func (c *Client) Remove(dir Handle, name string) error {
	_, err := c.nfs(12, Enc{}.Bytes(dir).Bytes([]byte(name)))
	return err
}

// The ways a write can be stable.
const (
	Unstable = 0
	DataSync = 1
	FileSync = 2
)

// Write is WRITE; it gives how stable the data is, and the verifier.
func (c *Client) Write(h Handle, off uint64, data []byte, stable uint32) (committed uint32, verifier uint64, err error) {
	d, err := c.nfs(7, Enc{}.Bytes(h).U64(off).U32(uint32(len(data))).U32(stable).Bytes(data))
	if err != nil {
		return 0, 0, err
	}
	d.wcc()
	if n := d.U32(); n != uint32(len(data)) && d.Err == nil {
		return 0, 0, fmt.Errorf("%d bytes of %d were written", n, len(data))
	}
	committed, verifier = d.U32(), d.U64()
	return committed, verifier, d.Err
}

// Commit is COMMIT of the whole file; it gives the verifier.
func (c *Client) Commit(h Handle) (verifier uint64, err error) {
	d, err := c.nfs(21, Enc{}.Bytes(h).U64(0).U32(0))
	if err != nil {
		return 0, err
	}
	d.wcc()
	return d.U64(), d.Err
}

// Read is READ.
func (c *Client) Read(h Handle, off uint64, n uint32) (data []byte, eof bool, err error) {
	d, err := c.nfs(6, Enc{}.Bytes(h).U64(off).U32(n))
	if err != nil {
		return nil, false, err
	}
	d.postAttr()
	d.U32()
	eof = d.U32() == 1
	return d.Bytes(), eof, d.Err
}

// Raw runs an NFS procedure and gives what follows its status.
func (c *Client) Raw(proc uint32, args Enc) (*Dec, error) { return c.nfs(proc, args) }

// Attr takes a fattr3.
func (d *Dec) Attr() Attr { return d.attr() }

// PostAttr takes a post_op_attr; zero if there is none.
func (d *Dec) PostAttr() Attr { return d.postAttr() }

// WCC takes a wcc_data: size, mtime and ctime from before, if ok, and the
// attributes after.
func (d *Dec) WCC() (size, mtime, ctime uint64, ok bool, after Attr) {
	if ok = d.U32() == 1; ok {
		size, mtime, ctime = d.U64(), d.U64(), d.U64()
	}
	return size, mtime, ctime, ok, d.postAttr()
}

// Entry is an entry of READDIR.
type Entry struct {
	Fileid, Cookie uint64
	Name           string
	Attr           Attr   // READDIRPLUS
	Handle         Handle // READDIRPLUS
}

// ReadDir is READDIR, or READDIRPLUS, after a cookie, with room for count
// bytes.
func (c *Client) ReadDir(dir Handle, cookie uint64, count uint32, plus bool) (list []Entry, eof bool, err error) {
	args, proc := Enc{}.Bytes(dir).U64(cookie).U64(0).U32(count), uint32(16)
	if plus {
		args, proc = args.U32(count), 17
	}
	d, err := c.nfs(proc, args)
	if err != nil {
		return nil, false, err
	}
	if n := len(d.B); n > int(count) {
		return nil, false, fmt.Errorf("READDIR gave %d bytes for a count of %d", n, count)
	}
	d.postAttr()
	d.U64()
	for d.U32() == 1 && d.Err == nil {
		e := Entry{Fileid: d.U64(), Name: string(d.Bytes()), Cookie: d.U64()}
		if plus {
			e.Attr = d.postAttr()
			if d.U32() == 1 {
				e.Handle = Handle(d.Bytes())
			}
		}
		list = append(list, e)
	}
	return list, d.U32() == 1, d.Err
}
