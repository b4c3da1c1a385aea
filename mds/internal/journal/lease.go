package journal

import (
	"context"
	"errors"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

func isDeposed(err error) bool { return errors.Is(err, ErrDeposed) }

// leaseState is what lease.R tells.
type leaseState struct {
	there   bool
	epoch   uint64
	counter uint64
	holder  string // empty: given back
}

func readLease(ctx context.Context, meta rados.Doer, object string) (leaseState, error) {
	a, err := readAttrs(ctx, meta, object)
	if wire.ErrnoOf(err) == wire.ENOENT {
		return leaseState{}, nil
	}
	if err != nil {
		return leaseState{}, err
	}
	return leaseState{there: true, epoch: a.num(attrEpoch), counter: a.num(attrCounter), holder: a[attrHolder]}, nil
}

// takeLease raises the epoch on the lease and keeps it as this Journal's.
// sent is when the vector that did it was sent.
func (j *Journal) takeLease(ctx context.Context) (sent time.Time, err error) {
	for {
		l, err := j.idleLease(ctx)
		if err != nil {
			return sent, err
		}
		epoch := l.epoch + 1
		first := wire.Op{Code: wire.OpCreate, Flags: wire.OpExcl}
		if l.there {
			first = cmpEpoch(wire.CmpGT, epoch)
		}
		sent = time.Now()
		_, err = j.meta.Do(ctx, &rados.Op{Object: j.names.lease, Flags: wire.FlagFullTry, Ops: []wire.Op{
			first,
			setAttr(attrEpoch, decimal(epoch)),
			setAttr(attrHolder, []byte(j.o.Holder)),
			setAttr(attrCounter, decimal(0)),
		}})
		switch wire.ErrnoOf(err) {
		case 0:
			j.epoch = epoch
			return sent, nil
		case wire.ECANCELED, wire.EEXIST:
			// Somebody was faster; wait for him in turn.
		default:
			return sent, err
		}
	}
}

// idleLease waits until the lease may be taken: nobody holds it, or its
// holder has not renewed it for Options.Takeover by this process's clock.
func (j *Journal) idleLease(ctx context.Context) (leaseState, error) {
	var last leaseState
	since := time.Now()
	for {
		l, err := readLease(ctx, j.meta, j.names.lease)
		if err != nil || j.o.Exclusive || l.holder == "" {
			return l, err
		}
		if l != last {
			last, since = l, time.Now()
		}
		if time.Since(since) >= j.o.Takeover {
			return l, nil
		}
		select {
		case <-time.After(j.o.Renew / 4):
		case <-ctx.Done():
			return l, gaveUp("journal.standby", j.names.lease, ctx)
		}
	}
}

// keepLease renews the lease until the journal has ended. A renewal that
// isn't answered is given up when its answer would be of no more use.
func (j *Journal) keepLease() {
	defer j.done.Done()
	for counter := uint64(1); ; counter++ {
		select {
		case <-time.After(j.o.Renew):
		case <-j.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(j.ctx, j.o.Alive)
		sent := time.Now()
		_, err := j.meta.Do(ctx, &rados.Op{Object: j.names.lease, Flags: wire.FlagFullTry, Ops: []wire.Op{
			cmpEpoch(wire.CmpEQ, j.epoch), setAttr(attrCounter, decimal(counter)),
		}})
		cancel()
		switch {
		case err == nil:
			j.Metrics.Renewed.Add(1)
			j.noteRenewal(sent)
			j.mu.Lock()
			wake(&j.renewed)
			j.mu.Unlock()
		case wire.ErrnoOf(err) == wire.ECANCELED:
			j.fail(wire.Wrap("journal.renew", j.names.lease, ErrDeposed))
			return
		case j.ctx.Err() == nil:
			j.log.Warn("lease not renewed", "object", j.names.lease, "err", err)
		}
	}
}

// giveBack marks the lease as free.
func (j *Journal) giveBack(ctx context.Context) error {
	_, err := j.meta.Do(ctx, &rados.Op{Object: j.names.lease, Flags: wire.FlagFullTry, Ops: []wire.Op{
		cmpEpoch(wire.CmpEQ, j.epoch), setAttr(attrHolder, nil),
	}})
	if wire.ErrnoOf(err) == wire.ECANCELED {
		err = ErrDeposed
	}
	return wire.Wrap("journal.close", j.names.lease, err)
}

// Alive reports whether the lease lets this holder answer, reads too. Both
// clocks must say so: the monotonic one stands while the machine sleeps, the
// wall clock can be set back.
func (j *Journal) Alive() bool {
	if j.ctx.Err() != nil {
		return false
	}
	now := time.Now()
	mono := now.Sub(j.start) - time.Duration(j.goodMono.Load())
	wall := time.Duration(now.UnixNano() - j.goodWall.Load())
	return mono < j.o.Alive && wall < j.o.Alive
}

// AwaitAlive waits until Alive, or gives the error that ended the journal.
func (j *Journal) AwaitAlive(ctx context.Context) error {
	if j.Alive() {
		return nil
	}
	return j.waitFor(ctx, &j.renewed, j.Alive)
}
