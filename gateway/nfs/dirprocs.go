package nfs

import (
	"context"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// made is the end of a reply to a procedure that makes something: its handle
// and attributes, then the directory's.
func (g *Gateway) made(ctx context.Context, out []byte, a *mds.Attr, w *mds.WCC, err error, dir mds.Handle) []byte {
	if err != nil {
		return g.failWCC(ctx, out, err, dir)
	}
	out = appendBool(g.status(out, nil), true)
	out = g.appendHandle(out, a.Handle())
	out = g.appendPostAttr(out, a)
	return g.appendWCC(out, w)
}

func create(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	dir, err := g.handle(&c.args)
	name := c.args.str()
	args := mds.CreateArgs{Mode: mds.CreateMode(c.args.u32())}
	switch args.Mode {
	case mds.CreateUnchecked, mds.CreateGuarded:
		args.Attr = c.args.setAttr()
	case mds.CreateExclusive:
		copy(args.Verifier[:], c.args.fixed(8))
	default:
		return nil, wire.Data{}
	}
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var a mds.Attr
	var w mds.WCC
	if err == nil {
		a, w, err = g.o.FS.Create(ctx, c.cred, dir, name, args)
	}
	return g.made(ctx, out, &a, &w, err, dir), wire.Data{}
}

func mkdir(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	dir, err := g.handle(&c.args)
	name, set := c.args.str(), c.args.setAttr()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var a mds.Attr
	var w mds.WCC
	if err == nil {
		a, w, err = g.o.FS.Mkdir(ctx, c.cred, dir, name, set)
	}
	return g.made(ctx, out, &a, &w, err, dir), wire.Data{}
}

func symlink(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	dir, err := g.handle(&c.args)
	name, set, target := c.args.str(), c.args.setAttr(), c.args.str()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var a mds.Attr
	var w mds.WCC
	if err == nil {
		a, w, err = g.o.FS.Symlink(ctx, c.cred, dir, name, target, set)
	}
	return g.made(ctx, out, &a, &w, err, dir), wire.Data{}
}

func mknod(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	dir, err := g.handle(&c.args)
	name := c.args.str()
	args := mds.NodeArgs{Type: mds.FileType(min(c.args.u32(), 255))}
	switch args.Type {
	case mds.TypeChar, mds.TypeBlock:
		args.Attr = c.args.setAttr()
		args.Major, args.Minor = c.args.u32(), c.args.u32()
	case mds.TypeSocket, mds.TypeFIFO:
		args.Attr = c.args.setAttr()
	default:
		if err == nil {
			err = errBadType
		}
	}
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var a mds.Attr
	var w mds.WCC
	if err == nil {
		a, w, err = g.o.FS.Mknod(ctx, c.cred, dir, name, args)
	}
	return g.made(ctx, out, &a, &w, err, dir), wire.Data{}
}

func remove(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	return g.unlink(ctx, c, out, g.o.FS.Remove)
}

func rmdir(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	return g.unlink(ctx, c, out, g.o.FS.Rmdir)
}

func (g *Gateway) unlink(ctx context.Context, c *call, out []byte, f func(context.Context, mds.Cred, mds.Handle, string) (mds.WCC, error)) ([]byte, wire.Data) {
	dir, err := g.handle(&c.args)
	name := c.args.str()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	var w mds.WCC
	if err == nil {
		w, err = f(ctx, c.cred, dir, name)
	}
	if err != nil {
		return g.failWCC(ctx, out, err, dir), wire.Data{}
	}
	return g.appendWCC(g.status(out, nil), &w), wire.Data{}
}

func rename(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	from, err := g.handle(&c.args)
	fromName := c.args.str()
	to, err2 := g.handle(&c.args)
	toName := c.args.str()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	if err == nil {
		err = err2
	}
	var fw, tw mds.WCC
	if err == nil {
		fw, tw, err = g.o.FS.Rename(ctx, c.cred, from, fromName, to, toName)
	}
	if err != nil {
		fw, tw = mds.WCC{After: g.post(ctx, from)}, mds.WCC{After: g.post(ctx, to)}
	}
	return g.appendWCC(g.appendWCC(g.status(out, err), &fw), &tw), wire.Data{}
}

func link(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	h, err := g.handle(&c.args)
	dir, err2 := g.handle(&c.args)
	name := c.args.str()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	if err == nil {
		err = err2
	}
	var a mds.Attr
	var w mds.WCC
	if err == nil {
		a, w, err = g.o.FS.Link(ctx, c.cred, h, dir, name)
	}
	if err != nil {
		a, w = g.post(ctx, h), mds.WCC{After: g.post(ctx, dir)}
	}
	return g.appendWCC(g.appendPostAttr(g.status(out, err), &a), &w), wire.Data{}
}

// maxReadDir is the most bytes of a READDIR or READDIRPLUS reply; also what
// FSINFO tells clients to ask for.
const maxReadDir = 64 << 10

// dirOverhead is what a reply needs besides its entries: attributes, the
// cookie verifier, the end of the list, eof.
const dirOverhead = 4 + attrSize + 8 + 4 + 4

func readdir(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	dir, err := g.handle(&c.args)
	cookie := c.args.u64()
	c.args.u64() // verifier: ours is always 0, and cookies stay true without it
	count := c.args.u32()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	return g.list(ctx, c, out, dir, err, cookie, false, maxReadDir, count), wire.Data{}
}

func readdirplus(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	dir, err := g.handle(&c.args)
	cookie := c.args.u64()
	c.args.u64()
	dirCount, maxCount := c.args.u32(), c.args.u32()
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	return g.list(ctx, c, out, dir, err, cookie, true, dirCount, maxCount), wire.Data{}
}

// list is READDIR and READDIRPLUS. dirCount bounds names, fileids and cookies;
// maxCount the whole result.
func (g *Gateway) list(ctx context.Context, c *call, out []byte, dir mds.Handle, err error, cookie uint64, plus bool, dirCount, maxCount uint32) []byte {
	total := int(min(maxCount, maxReadDir))
	names := int(min(dirCount, maxReadDir))
	var entries []byte
	var a mds.Attr
	eof, full := false, false
	if err == nil {
		a, eof, err = g.o.FS.ReadDir(ctx, c.cred, dir, cookie, plus, func(e *mds.DirEntry) bool {
			bare := 4 + 8 + 4 + (len(e.Name)+3)&^3 + 8
			size := bare
			if plus {
				size += 4 + 4
				if e.HasAttr {
					size += attrSize + 4 + handleSize
				}
			}
			// dirCount is advice: it never keeps the first entry away.
			if dirOverhead+len(entries)+size > total || names < bare && len(entries) > 0 {
				full = true
				return false
			}
			names -= bare
			entries = g.appendEntry(entries, e, plus)
			return true
		})
	}
	switch {
	case err == nil && full && len(entries) == 0:
		err = errTooSmall
	case cookie != 0 && wire.ErrnoOf(err) == wire.EINVAL:
		err = errCookie
	}
	if err != nil {
		a = g.post(ctx, dir)
		return g.appendPostAttr(g.status(out, err), &a)
	}
	out = g.appendPostAttr(g.status(out, nil), &a)
	out = appendU64(out, 0) // verifier
	out = append(out, entries...)
	return appendBool(appendBool(out, false), eof)
}

func (g *Gateway) appendEntry(b []byte, e *mds.DirEntry, plus bool) []byte {
	b = appendU64(appendBool(b, true), uint64(e.Ino))
	b = appendU64(appendOpaque(b, e.Name), e.Cookie)
	if !plus {
		return b
	}
	if !e.HasAttr {
		return appendBool(appendBool(b, false), false)
	}
	b = g.appendPostAttr(b, &e.Attr)
	return g.appendHandle(appendBool(b, true), e.Attr.Handle())
}
