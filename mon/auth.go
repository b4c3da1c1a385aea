package mon

import (
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// gidBlock is how many client numbers one step of the auth service sets
// aside; firstGID is the first ever given out.
const (
	gidBlock = 1 << 12
	firstGID = 4096
)

// maxAuthWaiting bounds the clients that wait for a block of numbers.
const maxAuthWaiting = 4096

// authService gives clients their numbers. State: "limit", numbers below it
// may have been given out. A leader starts with a new block, so no number is
// given out twice, whatever crashes.
type authService struct {
	m         *Mon
	ver       uint64
	limit     uint64 // committed
	next, end uint64 // what this leader may still give out
	inFlight  bool
	newLimit  uint64
	waiting   []func()
}

func (a *authService) name() string    { return "auth" }
func (a *authService) version() uint64 { return a.ver }

func (a *authService) load(kv KV, version uint64) error {
	a.ver = version
	var err error
	a.limit, err = getNum(kv, string(stateKey(a.name(), []byte("limit"))))
	a.limit = max(a.limit, firstGID)
	return err
}

func (a *authService) lead(on bool) {
	a.next, a.end, a.inFlight = 0, 0, false
	if !on {
		a.waiting = nil
	}
}

func (a *authService) propose(time.Time) *proposal {
	if a.inFlight || a.next < a.end {
		return nil
	}
	a.inFlight = true
	return &proposal{service: a.name(), prior: a.ver, next: a.ver + 1,
		changes: []Change{{Key: []byte("limit"), Value: sealNum(a.limit + gidBlock)}}}
}

func (a *authService) apply(_ *Batch, p *proposal) error {
	if len(p.changes) != 1 {
		return wire.Errorf("mon.apply: auth step", "", wire.EIO)
	}
	b, err := unseal("auth limit", p.changes[0].Value)
	if err != nil {
		return err
	}
	a.newLimit = wire.NewDecoder(b).U64()
	a.ver = p.next
	return nil
}

func (a *authService) committed(_ *proposal, mine bool) {
	if mine {
		a.next, a.end = a.limit, a.newLimit
	}
	a.limit, a.inFlight = a.newLimit, false
	waiting := a.waiting
	a.waiting = nil
	for _, fn := range waiting {
		fn()
	}
}

func (a *authService) tick(time.Time) {}

// handle answers MAuth: any name is let in, and clients get a number. The
// transport that authenticates will do so before a session exists.
func (a *authService) handle(s *session, q *wire.MAuth) {
	if a.next >= a.end {
		if len(a.waiting) >= maxAuthWaiting || !a.m.leader {
			s.c.Send(&wire.MAuthReply{TID: q.TID, Result: -int32(wire.EAGAIN)})
			return
		}
		a.waiting = append(a.waiting, func() { a.handle(s, q) })
		return
	}
	gid := a.next
	a.next++
	s.c.Send(&wire.MAuthReply{TID: q.TID, GlobalID: int64(gid), FSID: a.m.fsid})
}
