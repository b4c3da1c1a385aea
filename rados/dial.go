package rados

import (
	"context"
	"log/slog"
	"time"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// keepalive is how often OSDs and mons are asked whether they are there.
const keepalive = 10 * time.Second

// Dial connects to the cluster of a configuration over TCP; log may be nil.
// EACCES, EPERM: there is no key, or the mons don't believe it; EINVAL: the
// configuration names no mon, or the cluster is another one. While no mon
// answers it goes on trying until ctx ends.
func Dial(ctx context.Context, conf *Config, log *slog.Logger) (*Client, error) {
	if len(conf.MonAddrs) == 0 {
		return nil, wire.Errorf("rados.dial: no address of a mon", conf.Path, wire.EINVAL)
	}
	var auth msgr.ClientAuth = msgr.NoAuth{Name: conf.Name}
	if conf.Auth != AuthNone {
		key, err := conf.readKey()
		if err != nil {
			return nil, err
		}
		auth = cephx.NewClient(conf.Name, key, cephx.ClientOptions{MonModes: conf.MonModes, ServiceModes: conf.OSDModes})
	}
	net := msgr.NewTCP(msgr.TCPOptions{Log: log, Keepalive: keepalive})
	c, err := Connect(ctx, Options{Net: net, MonAddrs: conf.MonAddrs, Auth: auth, FSID: conf.FSID, Log: log,
		Addr: localAddr(localIP(conf.MonAddrs[0].IP)), MaxOps: conf.MaxOps, MaxBytes: conf.MaxBytes})
	if err != nil {
		net.Close()
		return nil, err
	}
	c.net = net
	return c, nil
}
