package main

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/spirula/spirula/osd"
	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// osdDaemon is an OSD with its store and its session with the mons.
type osdDaemon struct {
	store   *store.Store
	session *rados.MonSession
	osd     *osd.OSD
}

// osdName is what an OSD is to authentication.
func osdName(id int32) wire.AuthName {
	return wire.EntityName{Type: wire.EntityOSD, Num: int64(id)}.AuthName()
}

// osdOptions say what an OSD runs on.
type osdOptions struct {
	dir    *dataDir
	fsid   wire.FSID
	uuid   wire.FSID // of the store
	id     int32
	host   string
	access *access
	ip     netip.Addr // where to listen, at a port that is free
	member *member
	memory int64 // budget of the store, in bytes
	log    *slog.Logger
	fatal  func(error)
}

// startOSD brings up the OSD of a data directory, whose store is made anew
// while the directory is not finished.
func startOSD(o osdOptions) (_ *osdDaemon, err error) {
	d := &osdDaemon{}
	defer func() {
		if err != nil {
			d.close()
			err = fmt.Errorf("osd.%d: %w", o.id, err)
		}
	}()
	log := o.log.With("daemon", fmt.Sprintf("osd.%d", o.id))
	dk, err := openStoreDir(o.dir)
	if err != nil {
		return nil, err
	}
	opts := store.Options{FSID: o.fsid, UUID: o.uuid, OSD: o.id, Memory: o.memory, Fatal: o.fatal, Log: log}
	if o.dir.fresh {
		// A first start that was interrupted left nothing that counts.
		if err := store.Mkfs(dk, opts); err != nil {
			return nil, err
		}
	}
	if d.store, err = store.Open(dk, opts); err != nil {
		return nil, err
	}
	// The nonce tells this start of the daemon from the one before.
	addr := wire.Addr{Type: wire.AddrMsgr2, Nonce: uint32(time.Now().UnixNano()) | 1, IP: netip.AddrPortFrom(o.ip, 0)}
	d.session = rados.DialMon(rados.MonOptions{
		Net: o.access.net, Addrs: o.access.monAddrs, Auth: o.member.auth(), Name: wire.EntityName{Type: wire.EntityOSD, Num: int64(o.id)}, MyAddr: addr, Log: log,
	})
	d.osd, err = osd.New(osd.Options{
		ID: o.id, Weight: weight(d.store.Statfs().Total), UUID: o.uuid, Store: d.store, Network: o.access.net, Mon: d.session, Addr: addr,
		Auth: o.member.serviceAuth(), PeerAuth: o.member.auth(), Host: o.host, Log: log, Fatal: o.fatal,
	})
	if err != nil {
		return nil, err
	}
	if err := d.osd.Start(); err != nil {
		d.osd = nil
		return nil, err
	}
	return d, nil
}

// weight is a size as the CRUSH map counts it, in TiB as 16.16 fixed point.
func weight(bytes int64) uint32 {
	return uint32(min(max(bytes>>24, 1), math.MaxUint32))
}

func openStoreDir(dir *dataDir) (disk.Disk, error) {
	if err := dir.disk.Mkdir(dir.storeName()); err != nil {
		return nil, err
	}
	return disk.OpenDir(filepath.Join(dir.path, dir.storeName()))
}

func (d *osdDaemon) close() error {
	if d.osd != nil {
		d.osd.Close()
	}
	if d.session != nil {
		d.session.Close()
	}
	if d.store != nil {
		return d.store.Close()
	}
	return nil
}
