package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spirula/spirula/mon"
	"github.com/spirula/spirula/osd/kv"
	"github.com/spirula/spirula/rados/wire"
)

// monDaemon is a monitor with what it keeps its state in.
type monDaemon struct {
	kv  *kv.DB
	mon *mon.Mon
}

// startMon brings up the monitor of a data directory, made as first says on the
// first start.
func startMon(dir *dataDir, first mon.MkfsOptions, a *access, log *slog.Logger, fatal func(error)) (_ *monDaemon, err error) {
	d := &monDaemon{}
	defer func() {
		if err != nil {
			d.close()
			err = fmt.Errorf("mon: %w", err)
		}
	}()
	if err := dir.disk.Mkdir(monDir); err != nil {
		return nil, err
	}
	log = log.With("daemon", "mon."+first.Name)
	d.kv, err = kv.Open(dir.disk, monDir, kv.Options{
		Journal: true, BlockCache: 1 << 20, WriteBuffer: 1 << 20, Fatal: fatal, Log: log,
	})
	if err != nil {
		return nil, err
	}
	d.kv.Start(0)
	db := &monKV{db: d.kv}
	if _, err = mon.Mkfs(db, first); err != nil && !errors.Is(err, wire.EEXIST) {
		return nil, err
	}
	m, err := mon.New(mon.Options{Name: first.Name, Addr: first.Addr, Net: a.outer, AuthMode: a.mode(), KV: db, Log: log, Fatal: fatal})
	if err != nil {
		return nil, err
	}
	if err := m.Start(); err != nil {
		return nil, err
	}
	d.mon = m
	return d, nil
}

func (d *monDaemon) close() error {
	if d.mon != nil {
		d.mon.Close()
	}
	if d.kv != nil {
		return d.kv.Close()
	}
	return nil
}

// Command implements commander, on the mon itself.
func (d *monDaemon) Command(ctx context.Context, cmd map[string]any, input []byte) ([]byte, error) {
	text, err := json.Marshal(cmd)
	if err != nil {
		return nil, err
	}
	a, err := d.mon.Command(ctx, string(text), input)
	if err == nil && a.Result < 0 {
		err = wire.Errorf("mon: "+a.Status, string(text), wire.Errno(-a.Result))
	}
	if err != nil {
		return nil, err
	}
	return a.Output, nil
}

// monKV is what the mon keeps its state in.
type monKV struct {
	db  *kv.DB
	seq uint64
}

// Get implements mon.KV.
func (m *monKV) Get(key []byte) ([]byte, error) {
	v, err := m.db.Get(key, nil)
	if errors.Is(err, wire.ENOENT) {
		return nil, nil
	}
	return v, err
}

// Range implements mon.KV.
func (m *monKV) Range(lo, hi []byte, fn func(key, value []byte) error) error {
	it := m.db.NewIter(lo, hi)
	defer it.Close()
	for ok := it.Next(); ok; ok = it.Next() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Err()
}

// Apply implements mon.KV.
func (m *monKV) Apply(b *mon.Batch) error {
	var out kv.Batch
	for i := range b.Changes {
		c := &b.Changes[i]
		if c.Delete {
			out.Delete(c.Key)
		} else {
			out.Put(c.Key, c.Value)
		}
	}
	m.seq++
	return m.db.ApplySync(&out, m.seq)
}
