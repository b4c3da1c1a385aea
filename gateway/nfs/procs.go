package nfs

import (
	"context"

	nfs "github.com/willscott/go-nfs"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// nfsProcs are the NFS procedures by number (RFC 1813, 3.3).
var nfsProcs = []proc{
	nfs.NFSProcedureNull:        {run: null},
	nfs.NFSProcedureGetAttr:     {run: getAttr},
	nfs.NFSProcedureSetAttr:     {run: setAttr, once: true},
	nfs.NFSProcedureLookup:      {run: lookup},
	nfs.NFSProcedureAccess:      {run: access},
	nfs.NFSProcedureReadlink:    {run: readlink},
	nfs.NFSProcedureRead:        {run: read},
	nfs.NFSProcedureWrite:       {run: write},
	nfs.NFSProcedureCreate:      {run: create, once: true},
	nfs.NFSProcedureMkDir:       {run: mkdir, once: true},
	nfs.NFSProcedureSymlink:     {run: symlink, once: true},
	nfs.NFSProcedureMkNod:       {run: mknod, once: true},
	nfs.NFSProcedureRemove:      {run: remove, once: true},
	nfs.NFSProcedureRmDir:       {run: rmdir, once: true},
	nfs.NFSProcedureRename:      {run: rename, once: true},
	nfs.NFSProcedureLink:        {run: link, once: true},
	nfs.NFSProcedureReadDir:     {run: readdir},
	nfs.NFSProcedureReadDirPlus: {run: readdirplus},
	nfs.NFSProcedureFSStat:      {run: fsstat},
	nfs.NFSProcedureFSInfo:      {run: fsinfo},
	nfs.NFSProcedurePathConf:    {run: pathconf},
	nfs.NFSProcedureCommit:      {run: commit},
}

// null does nothing.
func null(_ *Gateway, _ context.Context, _ *call, _ *record, out []byte) ([]byte, wire.Data) {
	return out, wire.Data{}
}

// status appends a procedure's status; an error is counted.
func (g *Gateway) status(out []byte, err error) []byte {
	s := statusFor(err)
	if err != nil {
		g.Metrics.Errors.Add(1)
		if s == nfs.NFSStatusServerFault || s == nfs.NFSStatusIO {
			g.o.Log.Error("request failed", "err", err)
		}
	}
	return appendU32(out, uint32(s))
}

// post gives a file's attributes for a reply that has failed; none when they
// can't be had.
func (g *Gateway) post(ctx context.Context, h mds.Handle) mds.Attr {
	a, err := g.o.FS.GetAttr(ctx, h)
	if err != nil {
		return mds.Attr{}
	}
	return a
}

// failWCC is the end of a failed change of h: the attributes after it.
func (g *Gateway) failWCC(ctx context.Context, out []byte, err error, h mds.Handle) []byte {
	return g.appendWCC(g.status(out, err), &mds.WCC{After: g.post(ctx, h)})
}

func getAttr(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var a mds.Attr
	if err == nil {
		a, err = g.o.FS.GetAttr(ctx, h)
	}
	out = g.status(out, err)
	if err == nil {
		out = g.appendAttr(out, &a)
	}
	return out, wire.Data{}
}

func setAttr(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	set := c.args.setAttr()
	if c.args.boolean() {
		t := c.args.time()
		set.Guard = &t
	}
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var w mds.WCC
	if err == nil {
		w, err = g.o.FS.SetAttr(ctx, c.cred, h, set)
	}
	if err != nil {
		return g.failWCC(ctx, out, err, h), wire.Data{}
	}
	return g.appendWCC(g.status(out, nil), &w), wire.Data{}
}

func lookup(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	dir, err := g.handle(&c.args)
	name := c.args.str()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var child, dirAttr mds.Attr
	if err == nil {
		child, dirAttr, err = g.o.FS.Lookup(ctx, c.cred, dir, name)
	}
	out = g.status(out, err)
	if err != nil {
		dirAttr = g.post(ctx, dir)
		return g.appendPostAttr(out, &dirAttr), wire.Data{}
	}
	out = g.appendHandle(out, child.Handle())
	out = g.appendPostAttr(out, &child)
	return g.appendPostAttr(out, &dirAttr), wire.Data{}
}

func access(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	bits := c.args.u32()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var granted uint32
	var a mds.Attr
	if err == nil {
		if granted, a, err = g.o.FS.Access(ctx, c.cred, h, bits); err != nil {
			a = g.post(ctx, h)
		}
	}
	out = g.appendPostAttr(g.status(out, err), &a)
	if err == nil {
		out = appendU32(out, granted)
	}
	return out, wire.Data{}
}

func readlink(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var target string
	var a mds.Attr
	if err == nil {
		if target, a, err = g.o.FS.Readlink(ctx, c.cred, h); err != nil {
			a = g.post(ctx, h)
		}
	}
	out = g.appendPostAttr(g.status(out, err), &a)
	if err == nil {
		out = appendOpaque(out, target)
	}
	return out, wire.Data{}
}

func read(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	off, n := c.args.u64(), c.args.u32()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var d wire.Data
	var eof bool
	var a mds.Attr
	n = min(n, maxIO)
	if err == nil {
		g.reads.take(int64(n))
		d, eof, a, err = g.o.FS.Read(ctx, c.cred, h, off, int(n))
		g.reads.release(int64(n) - int64(d.Len()))
	}
	if wire.ErrnoOf(err) == wire.EISDIR {
		err = wire.Errorf("read", "a directory", wire.EINVAL) // READ knows no ISDIR
	}
	if err != nil {
		a = g.post(ctx, h)
		return g.appendPostAttr(g.status(out, err), &a), wire.Data{}
	}
	g.Metrics.ReadBytes.Add(int64(d.Len()))
	out = g.appendPostAttr(g.status(out, nil), &a)
	out = appendU32(out, uint32(d.Len()))
	out = appendBool(out, eof)
	return appendU32(out, uint32(d.Len())), d
}

// The ways a WRITE asks to be stable (RFC 1813, stable_how).
const (
	unstable = 0
	dataSync = 1
	fileSync = 2
)

func write(g *Gateway, ctx context.Context, c *call, rec *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	off, count, how := c.args.u64(), c.args.u32(), c.args.u32()
	n := c.args.u32()
	d := rec.data
	if !rec.apart {
		b := c.args.fixed(int(min(n, maxRecord)))
		d = wire.CopyData(b)
		defer d.Release()
	}
	if !c.args.ok() || how > fileSync || n > maxRecord || rec.apart && int(n) != d.Len() {
		return nil, wire.Data{}
	}
	if err == nil && count != n {
		err = wire.Errorf("write", "count", wire.EINVAL)
	}
	// The verifier is taken before the data is: if the data is lost from then
	// on, the client compares with the old one, and writes again.
	v := g.o.FS.WriteVerifier()
	var w mds.WCC
	if err == nil {
		w, err = g.o.FS.Write(ctx, c.cred, h, off, d, how != unstable)
	}
	if err != nil {
		return g.failWCC(ctx, out, err, h), wire.Data{}
	}
	g.Metrics.WriteBytes.Add(int64(n))
	committed := uint32(unstable)
	if how != unstable {
		committed = fileSync
	}
	out = g.appendWCC(g.status(out, nil), &w)
	out = appendU32(appendU32(out, n), committed)
	return append(out, v[:]...), wire.Data{}
}

func commit(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	off, n := c.args.u64(), c.args.u32()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var w mds.WCC
	if err == nil {
		w, err = g.o.FS.Commit(ctx, c.cred, h, off, uint64(n))
	}
	if err != nil {
		return g.failWCC(ctx, out, err, h), wire.Data{}
	}
	// The verifier is taken last: what was lost up to the end of the commit
	// has changed it by now.
	v := g.o.FS.WriteVerifier()
	return append(g.appendWCC(g.status(out, nil), &w), v[:]...), wire.Data{}
}

func fsstat(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var a mds.Attr
	var s mds.FSStat
	if err == nil {
		a, err = g.o.FS.GetAttr(ctx, h)
	}
	if err == nil {
		s, err = g.o.FS.StatFS(ctx)
	}
	out = g.appendPostAttr(g.status(out, err), &a)
	if err != nil {
		return out, wire.Data{}
	}
	for _, v := range []uint64{s.TotalBytes, s.FreeBytes, s.AvailBytes, s.TotalFiles, s.FreeFiles, s.AvailFiles} {
		out = appendU64(out, v)
	}
	return appendU32(out, 0), wire.Data{} // invarsec: may change at any time
}

// What FSINFO says this file system can do: hard links, symbolic links,
// PATHCONF the same everywhere, times that clients may set.
const fsProperties = 0x01 | 0x02 | 0x08 | 0x10

func fsinfo(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var a mds.Attr
	if err == nil {
		a, err = g.o.FS.GetAttr(ctx, h)
	}
	out = g.appendPostAttr(g.status(out, err), &a)
	if err != nil {
		return out, wire.Data{}
	}
	for _, v := range []uint32{
		maxIO, maxIO, wire.BlockSize, // rtmax, rtpref, rtmult
		maxIO, maxIO, wire.BlockSize, // wtmax, wtpref, wtmult
		maxReadDir, // dtpref
	} {
		out = appendU32(out, v)
	}
	out = appendU64(out, mds.MaxFile)
	out = appendU32(appendU32(out, 0), 1) // time_delta: 1 ns
	return appendU32(out, fsProperties), wire.Data{}
}

func pathconf(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var a mds.Attr
	if err == nil {
		a, err = g.o.FS.GetAttr(ctx, h)
	}
	out = g.appendPostAttr(g.status(out, err), &a)
	if err != nil {
		return out, wire.Data{}
	}
	out = appendU32(appendU32(out, mds.MaxLinks), mds.MaxName)
	out = appendBool(out, true)               // no_trunc
	out = appendBool(out, true)               // chown_restricted
	out = appendBool(out, false)              // case_insensitive
	return appendBool(out, true), wire.Data{} // case_preserving
}
