package nfs

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// MOUNT status numbers (RFC 1813, 5.1.5).
const (
	mntOK          = 0
	mntNoEnt       = 2
	mntIO          = 5
	mntAccess      = 13
	mntNotDir      = 20
	mntInval       = 22
	mntNameTooLong = 63
	mntServerFault = 10006
)

// maxMounts bounds what DUMP lists; it is for people only.
const maxMounts = 1024

// mounts is who mounted what, as far as clients said.
type mounts struct {
	mu   sync.Mutex
	list []mountEntry
}

type mountEntry struct{ host, path string }

func (m *mounts) add(e mountEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, have := range m.list {
		if have == e {
			return
		}
	}
	if len(m.list) < maxMounts {
		m.list = append(m.list, e)
	}
}

// remove forgets a host's mount of path, or all of them for an empty path.
func (m *mounts) remove(e mountEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.list[:0]
	for _, have := range m.list {
		if have.host != e.host || e.path != "" && have.path != e.path {
			kept = append(kept, have)
		}
	}
	m.list = kept
}

func (m *mounts) all() []mountEntry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]mountEntry(nil), m.list...)
}

// mountProcs are MOUNT's procedures by number.
var mountProcs = []proc{
	{run: null},
	{run: mnt},
	{run: mountDump},
	{run: umnt},
	{run: umntAll},
	{run: mountExport},
}

// host names the caller, in its own words.
func (c *call) host() string {
	if len(c.machine) == 0 {
		return "anonymous"
	}
	return string(c.machine)
}

// mnt gives the handle of an exported directory: the root, a bucket, or any
// directory below.
func mnt(g *Gateway, ctx context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	path := string(c.args.opaque(maxString))
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	if len(path) > 1024 {
		return appendU32(out, mntNameTooLong), wire.Data{}
	}
	a, err := g.walk(ctx, path)
	if err != nil {
		return appendU32(out, mountStatus(err)), wire.Data{}
	}
	g.mnts.add(mountEntry{c.host(), path})
	out = appendU32(out, mntOK)
	out = g.appendHandle(out, a.Handle())
	out = appendU32(out, 2) // flavors
	return appendU32(appendU32(out, authSys), authNone), wire.Data{}
}

// walk follows a path from the root, as the server itself.
func (g *Gateway) walk(ctx context.Context, path string) (mds.Attr, error) {
	a, err := g.o.FS.Root(ctx)
	for name := range strings.SplitSeq(path, "/") {
		if err != nil {
			return a, err
		}
		if name == "" || name == "." {
			continue
		}
		a, _, err = g.o.FS.Lookup(ctx, mds.Cred{Trusted: true}, a.Handle(), name)
	}
	if err == nil && a.Type != mds.TypeDir {
		err = wire.Errorf("mount", path, wire.ENOTDIR)
	}
	return a, err
}

func mountStatus(err error) uint32 {
	switch {
	case errors.Is(err, wire.ENOENT), errors.Is(err, wire.ESTALE):
		return mntNoEnt
	case errors.Is(err, wire.ENOTDIR):
		return mntNotDir
	case errors.Is(err, wire.EACCES), errors.Is(err, wire.EPERM):
		return mntAccess
	case errors.Is(err, wire.EINVAL):
		return mntInval
	case errors.Is(err, wire.ENAMETOOLONG):
		return mntNameTooLong
	case errors.Is(err, wire.EIO):
		return mntIO
	}
	return mntServerFault
}

func mountDump(g *Gateway, _ context.Context, _ *call, _ *record, out []byte) ([]byte, wire.Data) {
	for _, e := range g.mnts.all() {
		out = appendOpaque(appendOpaque(appendBool(out, true), e.host), e.path)
	}
	return appendBool(out, false), wire.Data{}
}

func umnt(g *Gateway, _ context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	path := string(c.args.opaque(maxString))
	if !c.args.ok() {
		return nil, wire.Data{}
	}
	if path != "" {
		g.mnts.remove(mountEntry{c.host(), path})
	}
	return out, wire.Data{}
}

func umntAll(g *Gateway, _ context.Context, c *call, _ *record, out []byte) ([]byte, wire.Data) {
	g.mnts.remove(mountEntry{host: c.host()})
	return out, wire.Data{}
}

// mountExport lists the one export, the root, open to all.
func mountExport(_ *Gateway, _ context.Context, _ *call, _ *record, out []byte) ([]byte, wire.Data) {
	out = appendOpaque(appendBool(out, true), "/")
	out = appendBool(out, false)               // groups: none, so everybody
	return appendBool(out, false), wire.Data{} // no more exports
}
