package mds

import (
	"slices"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// The mode bits with a meaning of their own.
const (
	modeSetUID = 0o4000
	modeSetGID = 0o2000
	modeSticky = 0o1000
	modeBits   = 0o7777
)

// The three permissions of a mode triplet.
const (
	permExec  = 1
	permWrite = 2
	permRead  = 4
)

func (c *Cred) root() bool { return c.Trusted || c.UID == 0 }

func (c *Cred) inGroup(gid uint32) bool {
	return c.GID == gid || slices.Contains(c.Groups, gid)
}

// granted gives the permissions that c has on in, as POSIX decides: one
// triplet counts, the first that applies. Root may everything, but executes
// only what somebody may execute.
func (c *Cred) granted(in *inode.Inode) uint32 {
	if c.root() {
		if in.Type == inode.Dir || in.Mode&0o111 != 0 {
			return permRead | permWrite | permExec
		}
		return permRead | permWrite
	}
	switch {
	case c.UID == in.UID:
		return in.Mode >> 6 & 7
	case c.inGroup(in.GID):
		return in.Mode >> 3 & 7
	}
	return in.Mode & 7
}

// need refuses with EACCES unless c has all of perm on in.
func (c *Cred) need(op string, in *inode.Inode, perm uint32) error {
	if c.granted(in)&perm == perm {
		return nil
	}
	return wire.Errorf(op, inoName(in.Ino), wire.EACCES)
}

// needSticky refuses to take an entry out of a sticky directory unless c
// owns the entry or the directory.
func (c *Cred) needSticky(op string, dir, in *inode.Inode) error {
	if dir.Mode&modeSticky == 0 || c.root() || c.UID == dir.UID || c.UID == in.UID {
		return nil
	}
	return wire.Errorf(op, inoName(in.Ino), wire.EPERM)
}

// accessBits answers NFSv3's ACCESS for in (RFC 1813, 3.3.4).
func (c *Cred) accessBits(in *inode.Inode) uint32 {
	p := c.granted(in)
	var bits uint32
	if p&permRead != 0 {
		bits |= AccessRead
	}
	if p&permWrite != 0 {
		bits |= AccessModify | AccessExtend
	}
	if in.Type == inode.Dir {
		if p&permExec != 0 {
			bits |= AccessLookup
		}
		if p&permWrite != 0 {
			bits |= AccessDelete
		}
	} else if p&permExec != 0 {
		bits |= AccessExecute
	}
	return bits
}
