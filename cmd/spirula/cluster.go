package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/spirula/spirula/gateway/user"
	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/mon"
	"github.com/spirula/spirula/osd"
	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/kv"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// The pools of the namespace.
const (
	metadataPool = "spirula_metadata"
	dataPool     = "spirula_data"
)

// osdPort is where osd.0 is known to this process's daemons.
const osdPort = 6800

// cluster is everything behind the gateways, in one process.
type cluster struct {
	dir    *dataDir
	log    *slog.Logger
	net    *msgr.Local
	monKV  *kv.DB
	mon    *mon.Mon
	store  *store.Store
	osdMon *rados.MonSession
	osd    *osd.OSD
	client *rados.Client
	fs     *mds.FS
	users  *user.Store
}

func newCluster(dir *dataDir, log *slog.Logger) *cluster {
	return &cluster{dir: dir, log: log, net: msgr.NewLocal()}
}

// startCluster brings up mon, osd, client, mds and users in dir, making them
// on the first start. fatal is told when the process has to end.
func startCluster(ctx context.Context, dir *dataDir, c *config, log *slog.Logger, fatal func(error)) (*cluster, error) {
	cl := newCluster(dir, log)
	err := cl.startCore(ctx, c, fatal)
	if err == nil {
		if err = cl.startMDS(ctx, c.memory(), fatal); err != nil {
			err = dirError(dir.path, err)
		}
	}
	if err != nil {
		cl.close(context.WithoutCancel(ctx))
		return nil, err
	}
	return cl, nil
}

// startTimeout bounds the wait for the cluster's own daemons.
const startTimeout = 30 * time.Second

// startCore brings up mon, osd and client.
func (cl *cluster) startCore(ctx context.Context, c *config, fatal func(error)) error {
	fsid, osdID, err := cl.dir.identity()
	if err != nil {
		return err
	}
	monAddr, err := localAddr(c.Mon)
	if err != nil {
		return usageError{fmt.Errorf("--mon %s: %w", c.Mon, err)}
	}
	for _, sub := range []string{monDir, osdDir} {
		if err := cl.dir.disk.Mkdir(sub); err != nil {
			return dirError(cl.dir.path, err)
		}
	}
	if err := cl.startMon(fsid, monAddr, fatal); err != nil {
		return dirError(cl.dir.path, err)
	}
	if err := cl.startOSD(fsid, osdID, c.memory(), fatal); err != nil {
		return dirError(cl.dir.path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cl.client, err = rados.Connect(ctx, rados.Options{Net: cl.net, MonAddrs: []wire.Addr{cl.mon.Addr()}, Log: cl.log.With("daemon", "client")})
	if err != nil {
		return dirError(cl.dir.path, fmt.Errorf("rados: %w", err))
	}
	return nil
}

// pools opens the namespace's pools.
func (cl *cluster) pools(ctx context.Context) (meta, data *rados.IOCtx, err error) {
	if meta, err = cl.client.IOCtx(ctx, metadataPool); err == nil {
		data, err = cl.client.IOCtx(ctx, dataPool)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("rados: %w", err)
	}
	return meta, data, nil
}

// localAddr is an address that only this process's daemons know.
func localAddr(s string) (wire.Addr, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return wire.Addr{}, errors.New("want ADDRESS:PORT")
	}
	return wire.Addr{Type: wire.AddrMsgr2, IP: ap}, nil
}

func (cl *cluster) startMon(fsid wire.FSID, addr wire.Addr, fatal func(error)) (err error) {
	cl.monKV, err = kv.Open(cl.dir.disk, monDir, kv.Options{
		Journal: true, BlockCache: 1 << 20, WriteBuffer: 1 << 20, Fatal: fatal, Log: cl.log.With("daemon", "mon.a"),
	})
	if err != nil {
		return fmt.Errorf("mon: %w", err)
	}
	cl.monKV.Start(0)
	db := &monKV{db: cl.monKV}
	_, err = mon.Mkfs(db, mon.MkfsOptions{
		FSID: fsid, Name: "a", Addr: addr, OSDs: []mon.MkfsOSD{{Host: "localhost"}}, PoolSize: 1,
		Pools: []mon.PoolSpec{{Name: metadataPool, PGNum: 16}, {Name: dataPool, PGNum: 32}},
	})
	if err != nil && !errors.Is(err, wire.EEXIST) {
		return fmt.Errorf("mon: %w", err)
	}
	if cl.mon, err = mon.New(mon.Options{Name: "a", Addr: addr, Net: cl.net, KV: db, Log: cl.log.With("daemon", "mon.a"), Fatal: fatal}); err != nil {
		return fmt.Errorf("mon: %w", err)
	}
	if err := cl.mon.Start(); err != nil {
		cl.mon = nil
		return fmt.Errorf("mon: %w", err)
	}
	return nil
}

func (cl *cluster) startOSD(fsid, uuid wire.FSID, memory int64, fatal func(error)) error {
	log := cl.log.With("daemon", "osd.0")
	d, err := disk.OpenDir(cl.dir.path + "/" + osdDir)
	if err != nil {
		return fmt.Errorf("osd.0: %w", err)
	}
	opts := store.Options{FSID: fsid, UUID: uuid, OSD: 0, Memory: memory * 5 / 12, Fatal: fatal, Log: log}
	if cl.dir.fresh {
		// A first start that was interrupted left nothing that counts.
		if err := store.Mkfs(d, opts); err != nil {
			return fmt.Errorf("osd.0: %w", err)
		}
	}
	if cl.store, err = store.Open(d, opts); err != nil {
		return fmt.Errorf("osd.0: %w", err)
	}
	// The nonce tells this start of the daemon from the one before.
	addr := wire.Addr{Type: wire.AddrMsgr2, Nonce: uint32(time.Now().UnixNano()), IP: netip.AddrPortFrom(cl.mon.Addr().IP.Addr(), osdPort)}
	cl.osdMon = rados.DialMon(rados.MonOptions{
		Net: cl.net, Addrs: []wire.Addr{cl.mon.Addr()}, Name: wire.EntityName{Type: wire.EntityOSD, Num: 0}, MyAddr: addr, Log: log,
	})
	cl.osd, err = osd.New(osd.Options{
		ID: 0, UUID: uuid, Store: cl.store, Network: cl.net, Mon: cl.osdMon, Addr: addr, Host: "localhost", Log: log, Fatal: fatal,
	})
	if err != nil {
		return fmt.Errorf("osd.0: %w", err)
	}
	if err := cl.osd.Start(); err != nil {
		return fmt.Errorf("osd.0: %w", err)
	}
	return nil
}

func (cl *cluster) startMDS(ctx context.Context, memory int64, fatal func(error)) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	meta, data, err := cl.pools(ctx)
	if err != nil {
		return err
	}
	cl.fs, err = mds.Open(ctx, mds.Options{
		Meta: meta, Data: data, Holder: "mds.a", Exclusive: true, UID: cl.dir.uid, GID: cl.dir.gid, Space: cl.space,
		CacheBytes: memory / 6, DirtyBytes: memory / 8, Log: cl.log.With("daemon", "mds.a"), Fatal: fatal,
	})
	if err != nil {
		return err
	}
	cl.users, err = user.Open(ctx, user.Options{Pool: meta})
	return err
}

// fsid64 is the file system's id over NFS: the first half of the cluster's.
func (cl *cluster) fsid64() uint64 {
	fsid, _ := parseUUID(cl.dir.file.FSID) // was read at start
	return binary.BigEndian.Uint64(fsid[:])
}

func (cl *cluster) space(context.Context) (total, free uint64, err error) {
	s := cl.store.Statfs()
	return uint64(max(s.Total, 0)), uint64(max(s.Free, 0)), nil
}

// firstUser makes the first user, or gives it the keys asked for.
func (cl *cluster) firstUser(ctx context.Context, k firstKeys) error {
	key := user.Key{Access: k.AccessKey, Secret: user.Secret(k.SecretKey)}
	u, err := cl.users.ByName(ctx, k.User)
	if errors.Is(err, wire.ENOENT) {
		_, err = cl.users.Add(ctx, user.User{Name: k.User, UID: cl.dir.uid, GID: cl.dir.gid, Admin: true, Keys: []user.Key{key}})
		return err
	}
	if err != nil {
		return err
	}
	if s, ok := u.Secret(k.AccessKey); ok && s == key.Secret {
		return nil
	}
	_, err = cl.users.Rotate(ctx, k.User, key)
	return err
}

// close stops the daemons, the namespace first, each after those that use it.
func (cl *cluster) close(ctx context.Context) error {
	var errs []error
	if cl.fs != nil {
		errs = append(errs, cl.fs.Close(ctx))
	}
	if cl.client != nil {
		cl.client.Close()
	}
	if cl.osd != nil {
		cl.osd.Close()
	}
	if cl.osdMon != nil {
		cl.osdMon.Close()
	}
	if cl.store != nil {
		errs = append(errs, cl.store.Close())
	}
	if cl.mon != nil {
		cl.mon.Close()
	}
	if cl.monKV != nil {
		errs = append(errs, cl.monKV.Close())
	}
	return errors.Join(errs...)
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
