package nfs

import (
	"encoding/binary"

	"github.com/spirula/spirula/mds"
)

// The programs of this port, and the numbers of ONC RPC (RFC 5531).
const (
	progNFS   = 100003
	progMount = 100005
	rpcVers   = 2

	msgCall  = 0
	msgReply = 1

	replyAccepted = 0
	replyDenied   = 1

	acceptSuccess      = 0
	acceptProgUnavail  = 1
	acceptProgMismatch = 2
	acceptProcUnavail  = 3
	acceptGarbageArgs  = 4
	acceptSystemErr    = 5

	rejectRPCMismatch = 0
	rejectAuthError   = 1

	authNone = 0
	authSys  = 1

	authBadCred = 1
	authTooWeak = 5

	maxAuth   = 400 // bytes of a credential's body (RFC 5531)
	maxGroups = 16
)

// nobody is who a caller without credentials, or a squashed root, is.
const nobody = 65534

// call is one request.
type call struct {
	xid, prog, vers, proc uint32
	cred                  mds.Cred
	machine               []byte // what the client calls itself; refers to the record
	args                  reader
}

// parseCall reads an RPC call header. reply, when not nil, is the refusal to
// send; ok false without a reply means that nothing can be answered.
func parseCall(b []byte, squash bool) (c *call, reply []byte, ok bool) {
	r := reader{b: b}
	c = &call{xid: r.u32()}
	if r.u32() != msgCall || !r.ok() {
		return nil, nil, false
	}
	if v := r.u32(); r.ok() && v != rpcVers {
		out := appendU32(startReply(c.xid), replyDenied)
		return nil, appendU32(appendU32(appendU32(out, rejectRPCMismatch), rpcVers), rpcVers), true
	}
	c.prog, c.vers, c.proc = r.u32(), r.u32(), r.u32()
	flavor, body := r.u32(), r.opaque(maxAuth)
	r.u32() // the verifier's flavor: AUTH_NONE for what we take
	r.opaque(maxAuth)
	if !r.ok() {
		return nil, nil, false
	}
	switch flavor {
	case authNone:
		c.cred = mds.Cred{UID: nobody, GID: nobody}
	case authSys:
		if !c.parseSys(body, squash) {
			return nil, denyAuth(c.xid, authBadCred), true
		}
	default:
		return nil, denyAuth(c.xid, authTooWeak), true
	}
	c.args = r
	return c, nil, true
}

func (c *call) parseSys(body []byte, squash bool) bool {
	r := reader{b: body}
	r.u32() // stamp
	c.machine = r.opaque(255)
	c.cred = mds.Cred{UID: r.u32(), GID: r.u32()}
	n := r.u32()
	if n > maxGroups {
		return false
	}
	for range n {
		c.cred.Groups = append(c.cred.Groups, r.u32())
	}
	if squash {
		c.squashRoot()
	}
	return r.ok()
}

// squashRoot makes root, and root's group, nobody.
func (c *call) squashRoot() {
	if c.cred.UID == 0 {
		c.cred = mds.Cred{UID: nobody, GID: nobody}
		return
	}
	if c.cred.GID == 0 {
		c.cred.GID = nobody
	}
	for i, gid := range c.cred.Groups {
		if gid == 0 {
			c.cred.Groups[i] = nobody
		}
	}
}

// startReply begins a reply record: room for the record mark, xid, REPLY.
func startReply(xid uint32) []byte {
	b := make([]byte, 4, 256)
	b = appendU32(b, xid)
	return appendU32(b, msgReply)
}

func denyAuth(xid, why uint32) []byte {
	return appendU32(appendU32(appendU32(startReply(xid), replyDenied), rejectAuthError), why)
}

// accepted begins an accepted reply with its status.
func accepted(xid, status uint32) []byte {
	b := appendU32(startReply(xid), replyAccepted)
	b = appendU32(appendU32(b, authNone), 0)
	return appendU32(b, status)
}

// mismatch refuses a version of a program: only 3 is spoken.
func mismatch(xid uint32) []byte {
	return appendU32(appendU32(accepted(xid, acceptProgMismatch), 3), 3)
}

// finish fills in the record mark of a reply of len(b)-4+extra bytes.
func finish(b []byte, extra int) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4+extra)|1<<31)
	return b
}
