package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spirula/spirula/gateway/user"
	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/mon"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// The pools of the namespace.
const (
	metadataPool = "spirula_metadata"
	dataPool     = "spirula_data"
)

// cluster is everything behind the gateways, in one process.
type cluster struct {
	dir    *dataDir
	log    *slog.Logger
	access *access
	mon    *monDaemon
	osd    *osdDaemon
	client *rados.Client
	fs     *mds.FS
	users  *user.Store
}

func newCluster(dir *dataDir, log *slog.Logger) *cluster {
	return &cluster{dir: dir, log: log}
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
	if cl.access, err = newAccess("--mon", c.Mon, c.Auth, cl.log); err != nil {
		return err
	}
	if err := cl.startDaemons(ctx, fsid, osdID, c.memory(), fatal); err != nil {
		return dirError(cl.dir.path, err)
	}
	return nil
}

func (cl *cluster) startDaemons(ctx context.Context, fsid, uuid wire.FSID, memory int64, fatal func(error)) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	a := cl.access
	cl.mon, err = startMon(cl.dir, mon.MkfsOptions{
		FSID: fsid, Name: "a", Addr: a.monAddrs[0], OSDs: []mon.MkfsOSD{{Host: "localhost"}}, PoolSize: 1,
		Pools: []mon.PoolSpec{{Name: metadataPool, PGNum: 16}, {Name: dataPool, PGNum: 32}},
	}, a, cl.log, fatal)
	if err != nil {
		return err
	}
	osd0, err := a.member(ctx, cl.mon, osdName(0), osdCaps)
	if err != nil {
		return err
	}
	cl.osd, err = startOSD(osdOptions{
		dir: cl.dir, fsid: fsid, uuid: uuid, id: 0, host: "localhost", ip: a.monAddrs[0].IP.Addr(), access: a, member: osd0,
		memory: memory * 5 / 12, log: cl.log, fatal: fatal,
	})
	if err != nil {
		return err
	}
	admin, err := a.member(ctx, cl.mon, adminName, adminCaps)
	if err != nil {
		return err
	}
	if cl.client, err = a.client(ctx, admin, cl.log); err != nil {
		return err
	}
	return a.publish(cl.dir, fsid, admin)
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
	s := cl.osd.store.Statfs()
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
		errs = append(errs, cl.osd.close())
	}
	if cl.mon != nil {
		errs = append(errs, cl.mon.close())
	}
	return errors.Join(errs...)
}
