package kv

import (
	"fmt"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

const (
	// maxPieces is how many files the ballast is split into.
	maxPieces = 16
	// minPiece is the least that one file holds.
	minPiece = 4 << 20
	// refillEvery is how often the ballast is tried to be made whole.
	refillEvery   = 5 * time.Second
	ballastPrefix = "ballast-"
)

// ballast is space held back for goleveldb: a compaction that can't be written
// would block every delete, and so the way out of a full disk.
type ballast struct {
	d     disk.Disk
	dir   string
	piece int64
	want  int // pieces when whole
	full  atomic.Bool

	mu     sync.Mutex
	held   []string
	closed chan struct{}
	done   chan struct{}
	wake   chan struct{}
}

// openBallast counts the pieces that are there and makes the missing ones as
// far as space goes.
func openBallast(d disk.Disk, dir string, size int64) (*ballast, error) {
	b := &ballast{d: d, dir: dir}
	names, err := d.List(dir)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		b.piece = max(minPiece, (size+maxPieces-1)/maxPieces)
		b.want = int((size + b.piece - 1) / b.piece)
	}
	for _, n := range names {
		if !strings.HasPrefix(n, ballastPrefix) {
			continue
		}
		p := path.Join(dir, n)
		if got, err := d.Size(p); err == nil && got == b.piece && len(b.held) < b.want {
			b.held = append(b.held, p)
		} else if err := d.Remove(p); err != nil {
			return nil, err
		}
	}
	for b.refill() {
	}
	b.judge()
	b.closed, b.done, b.wake = make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	go b.keep()
	return b, nil
}

// close ends the keeper and waits for it.
func (b *ballast) close() {
	close(b.closed)
	<-b.done
}

// keep refills the ballast after it was drawn on, until close.
func (b *ballast) keep() {
	defer close(b.done)
	for {
		if !b.full.Load() {
			select {
			case <-b.closed:
				return
			case <-b.wake:
			}
		}
		timer := time.NewTimer(refillEvery)
		select {
		case <-b.closed:
			timer.Stop()
			return
		case <-timer.C:
		}
		for b.refill() {
		}
		b.judge()
	}
}

// judge says anew whether the disk is full.
func (b *ballast) judge() {
	_, free, err := b.d.Space()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full.Store(err != nil || free < minPiece || len(b.held) < b.want)
}

// refill makes one missing piece, if there is space for it and as much again:
// else it would be drawn on at once. It says whether it did.
func (b *ballast) refill() bool {
	_, free, err := b.d.Space()
	if err != nil || b.want == 0 || free < 2*b.piece {
		return false
	}
	b.mu.Lock()
	used := map[string]bool{}
	for _, n := range b.held {
		used[n] = true
	}
	b.mu.Unlock()
	for i := range b.want {
		name := path.Join(b.dir, fmt.Sprintf("%s%02d", ballastPrefix, i))
		if used[name] {
			continue
		}
		if b.make(name) != nil {
			_ = b.d.Remove(name) // half a piece is worth nothing; none may be there
			return false
		}
		b.mu.Lock()
		b.held = append(b.held, name)
		b.mu.Unlock()
		return true
	}
	return false
}

func (b *ballast) make(name string) error {
	f, err := b.d.Open(name, disk.Create|disk.Trunc)
	if err != nil {
		return err
	}
	err = f.Grow(b.piece)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// release gives up one piece and says whether there was one.
func (b *ballast) release() bool {
	b.full.Store(true)
	b.mu.Lock()
	if len(b.held) == 0 {
		b.mu.Unlock()
		return false
	}
	name := b.held[len(b.held)-1]
	b.held = b.held[:len(b.held)-1]
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return b.d.Remove(name) == nil
}

// retry runs op again as long as it meets a full disk and ballast is left.
func (b *ballast) retry(op func() error) error {
	for {
		err := op()
		if wire.ErrnoOf(err) != wire.ENOSPC || !b.release() {
			return err
		}
	}
}

// bytes is how much is held back now.
func (b *ballast) bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.held)) * b.piece
}
