package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/spirula/spirula/mon"
	"github.com/spirula/spirula/osd"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// Values of --mon and --auth with a meaning of their own.
const (
	monOff    = "off" // no outside clients
	authCephx = "cephx"
	authNone  = "none"
)

// inProcess is the mon's address when nobody outside may reach it.
const inProcess = "127.0.0.1:3300"

// Bounds and periods of the network.
const (
	received  = 96 << 20 // bytes of data from outside clients that are held at once
	keepalive = 10 * time.Second
)

// access is how the daemons and clients of this process reach each other, and
// how others reach them.
type access struct {
	tcp      *msgr.TCP    // nil without outside clients
	outer    msgr.Network // the mon's
	net      msgr.Network // the OSDs' and clients': in process where it can be
	monAddrs []wire.Addr
	auth     string // cephx or none
}

// newAccess prepares the network of a process that runs a mon of its own, at
// the address that a flag gave.
func newAccess(flag, mon, auth string, log *slog.Logger) (*access, error) {
	local := msgr.NewLocal()
	if mon == monOff {
		return &access{outer: local, net: local, monAddrs: []wire.Addr{monAddr(netip.MustParseAddrPort(inProcess))}, auth: authNone}, nil
	}
	ap, err := netip.ParseAddrPort(mon)
	if err == nil && ap.Addr().IsUnspecified() {
		err = errors.New("clients compare it with where they connected, so it must be one address of this machine")
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("%s %s: want ADDRESS:PORT or %s (%w)", flag, mon, monOff, err)}
	}
	if ap, err = usable(flag, ap); err != nil {
		return nil, err
	}
	a := newRemoteAccess([]wire.Addr{monAddr(ap)}, auth, log)
	a.net = msgr.Join(local, a.outer)
	return a, nil
}

// newRemoteAccess prepares the network of a process whose mons are others.
func newRemoteAccess(mons []wire.Addr, auth string, log *slog.Logger) *access {
	tcp := msgr.NewTCP(msgr.TCPOptions{Registry: wire.NewRegistry(osd.Codecs()), Log: log, RecvBytes: received, Keepalive: keepalive})
	return &access{outer: tcp, net: tcp, tcp: tcp, monAddrs: mons, auth: auth}
}

// usable tells early what keeps a mon from listening at an address, and
// chooses a port for port 0: the mon has to be told where it will listen.
func usable(flag string, ap netip.AddrPort) (netip.AddrPort, error) {
	l, err := listen("the mon", flag, ap.String())
	if err != nil {
		return ap, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort(), nil
}

// mode is whom the mon lets in.
func (a *access) mode() mon.AuthMode {
	if a.auth == authNone {
		return mon.AuthNone
	}
	return mon.AuthCephx
}

func monAddr(ap netip.AddrPort) wire.Addr { return wire.Addr{Type: wire.AddrMsgr2, IP: ap} }

// member is an entity of the cluster that this process acts as.
type member struct {
	name wire.AuthName
	key  cephx.CryptoKey // zero without cephx
	// cephx is nil without cephx.
	cephx *cephx.Client
}

// adminName is the entity that may do everything.
var adminName = wire.AuthName{Type: wire.EntityClient, ID: "admin"}

// What entities of this program may do, by kind of daemon.
var (
	adminCaps = []string{"mon", "allow *", "osd", "allow *", "mgr", "allow *", "mds", "allow *"}
	osdCaps   = []string{"mon", "allow profile osd", "osd", "allow *", "mgr", "allow profile osd"}
)

// commander runs mon commands: a mon of this process, or a session with one.
type commander interface {
	Command(ctx context.Context, cmd map[string]any, input []byte) ([]byte, error)
}

// member gives an entity's key, which the mon makes on first use.
func (a *access) member(ctx context.Context, mon commander, name wire.AuthName, caps []string) (*member, error) {
	if a.auth == authNone {
		return &member{name: name}, nil
	}
	out, err := mon.Command(ctx, map[string]any{"prefix": "auth print-key", "entity": name.String()}, nil)
	if errors.Is(err, wire.ENOENT) {
		out, err = mon.Command(ctx, map[string]any{"prefix": "auth get-or-create-key", "entity": name.String(), "caps": caps}, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	key, err := cephx.ParseKey(strings.TrimSpace(string(out)))
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", name, err)
	}
	return newMember(name, key), nil
}

func newMember(name wire.AuthName, key cephx.CryptoKey) *member {
	return &member{name: name, key: key, cephx: cephx.NewClient(name, key, cephx.ClientOptions{})}
}

// auth is what the member proves itself with.
func (m *member) auth() msgr.ClientAuth {
	if m.cephx == nil {
		return msgr.NoAuth{Name: m.name}
	}
	return m.cephx
}

// serviceAuth decides who may connect to the member, an OSD.
func (m *member) serviceAuth() msgr.ServerAuth {
	if m.cephx == nil {
		return msgr.NoAuth{}
	}
	return cephx.NewServiceAuth(wire.EntityOSD, m.cephx.ServiceKeys(), cephx.AcceptOptions{})
}

// client connects a client to the cluster.
func (a *access) client(ctx context.Context, m *member, log *slog.Logger) (*rados.Client, error) {
	c, err := rados.Connect(ctx, rados.Options{Net: a.net, MonAddrs: a.monAddrs, Auth: m.auth(), Log: log.With("daemon", "client")})
	if err != nil {
		return nil, fmt.Errorf("rados: %w", err)
	}
	return c, nil
}

// publish writes what outside clients need into the data directory: ceph.conf
// and the admin's keyring.
func (a *access) publish(dir *dataDir, fsid wire.FSID, admin *member) error {
	keyring := filepath.Join(dir.path, adminKeys)
	if admin.cephx != nil {
		k := cephx.Keyring{admin.name: cephx.Entity{Key: admin.key, Caps: capsMap(adminCaps)}}
		if err := dir.replace(adminKeys, k.Format(), 0o600); err != nil {
			return err
		}
	}
	return a.publishFor(dir, fsid, keyring)
}

// publishFor writes a ceph.conf that names a keyring.
func (a *access) publishFor(dir *dataDir, fsid wire.FSID, keyring string) error {
	var b strings.Builder
	mons := make([]string, len(a.monAddrs))
	for i, m := range a.monAddrs {
		mons[i] = fmt.Sprintf("v2:%s", m.IP)
	}
	fmt.Fprintf(&b, "# For Ceph's tools and libraries: rados -c %s lspools\n# Written by spirula at each start.\n[global]\n",
		filepath.Join(dir.path, confFile))
	fmt.Fprintf(&b, "fsid = %s\nmon_host = [%s]\n", fsid, strings.Join(mons, ","))
	for _, what := range []string{"cluster", "service", "client"} {
		fmt.Fprintf(&b, "auth_%s_required = %s\n", what, a.auth)
	}
	if a.auth != authNone {
		fmt.Fprintf(&b, "keyring = %s\n", keyring)
	}
	return dir.replace(confFile, []byte(b.String()), 0o644)
}

func capsMap(pairs []string) map[string]string {
	m := make(map[string]string, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}
