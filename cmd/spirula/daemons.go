package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/spirula/spirula/mon"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/wire"
)

// daemonFlags are the settings that every daemon of its own process has.
type daemonFlags struct {
	logLevel string
	memory   string
}

func (f *daemonFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&f.memory, "memory", "192MiB", "memory budget for caches and data in flight")
}

// process is one daemon's life: until a signal, or a fatal error.
type process struct {
	log    *slog.Logger
	memory int64
	fatal  func(error)
}

// run calls start, tells that the daemon is ready, and stops it at the end.
func (f *daemonFlags) run(ctx context.Context, out io.Writer, start func(context.Context, *process) (what string, stop func() error, err error)) error {
	memory, err := parseSize(f.memory)
	if err != nil {
		return usageError{fmt.Errorf("--memory %s: %w", f.memory, err)}
	}
	var level slog.Level
	if level.UnmarshalText([]byte(f.logLevel)) != nil {
		return usageError{fmt.Errorf("--log-level %s: want debug, info, warn or error", f.logLevel)}
	}
	ctx, release := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer release()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	debug.SetMemoryLimit(memory + 48<<20)
	p := &process{log: newLog(f.logLevel), memory: memory}
	p.fatal = func(err error) {
		p.log.Error("fatal, stopping", "err", err)
		fail(fmt.Errorf("fatal: %w", err))
		time.AfterFunc(5*time.Second, func() { os.Exit(1) })
	}
	what, stop, err := start(ctx, p)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, what)
	<-ctx.Done()
	if err := stop(); err != nil {
		p.log.Error("the stop was not clean; the next start recovers", "err", err)
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func monCommand() *cobra.Command {
	var f daemonFlags
	var addr, auth string
	cmd := &cobra.Command{
		Use:   "mon DIR",
		Short: "Run a monitor alone; OSDs of other processes join it",
		Long: `Run a monitor alone, with its state in DIR, which is made on the first start:
a new cluster without OSDs and pools. DIR/ceph.conf and the keyring beside it
are what OSDs (spirula osd --conf DIR/ceph.conf) and clients (rados, ceph) need.`,
		Args: cobra.ExactArgs(1),
	}
	f.add(cmd)
	cmd.Flags().StringVar(&addr, "addr", inProcess, "address to listen at, as clients reach it")
	cmd.Flags().StringVar(&auth, "auth", authCephx, "cephx, or none: everybody is believed who they are")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.run(cmd.Context(), cmd.OutOrStdout(), func(ctx context.Context, p *process) (string, func() error, error) {
			return runMon(ctx, p, args[0], addr, auth)
		})
	}
	return cmd
}

func runMon(ctx context.Context, p *process, path, addr, auth string) (string, func() error, error) {
	dir, err := makeDir(absolute(path), roleMon)
	if err != nil {
		return "", nil, err
	}
	d, err := startLoneMon(ctx, p, dir, addr, auth)
	stop, err := dir.kept(d, err)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("spirula mon.a is ready at %s\n  clients\trados -c %s lspools\n  first osd\tspirula osd OSD-DIR --conf %[2]s",
		d.mon.Addr().IP, filepath.Join(dir.path, confFile)), stop, nil
}

func startLoneMon(ctx context.Context, p *process, dir *dataDir, addr, auth string) (*monDaemon, error) {
	fsid, _, err := dir.identity()
	if err != nil {
		return nil, err
	}
	a, err := newAccess("--addr", addr, auth, p.log)
	if err != nil {
		return nil, err
	}
	d, err := startMon(dir, mon.MkfsOptions{FSID: fsid, Name: "a", Addr: a.monAddrs[0]}, a, p.log, p.fatal)
	if err != nil {
		return nil, err
	}
	admin, err := a.member(ctx, d, adminName, adminCaps)
	if err == nil {
		if err = dir.finish(); err == nil {
			err = a.publish(dir, fsid, admin)
		}
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func osdCommand() *cobra.Command {
	var f daemonFlags
	var o joinOptions
	cmd := &cobra.Command{
		Use:   "osd DIR",
		Short: "Run an OSD alone, with its store in DIR",
		Long: `Run an OSD alone, with its store in DIR, which is made on the first start: the
OSD joins the cluster of --conf, as the admin of the keyring named there. Later
starts need no --conf unless the mons have moved.`,
		Args: cobra.ExactArgs(1),
	}
	f.add(cmd)
	cmd.Flags().StringVar(&o.conf, "conf", "", "ceph.conf of the cluster; needed on the first start")
	cmd.Flags().Int32Var(&o.id, "id", -1, "number of a new OSD; the mon chooses one by default")
	cmd.Flags().StringVar(&o.ip, "addr", "127.0.0.1", "IP to listen at, as clients and other OSDs reach it")
	cmd.Flags().StringVar(&o.host, "host", "", "host in the CRUSH map; this machine's name by default")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.run(cmd.Context(), cmd.OutOrStdout(), func(ctx context.Context, p *process) (string, func() error, error) {
			return runOSD(ctx, p, args[0], o)
		})
	}
	return cmd
}

// kept gives what stops a daemon and then gives its directory up; at once if
// the daemon did not start.
func (d *dataDir) kept(daemon interface{ close() error }, started error) (func() error, error) {
	if started != nil {
		d.close()
		return nil, dirError(d.path, started)
	}
	return func() error {
		defer d.close()
		return daemon.close()
	}, nil
}

// joinOptions say how an OSD joins a cluster.
type joinOptions struct {
	conf, ip, host string
	id             int32
}

func runOSD(ctx context.Context, p *process, path string, o joinOptions) (string, func() error, error) {
	ip, err := netip.ParseAddr(o.ip)
	if err != nil || ip.IsUnspecified() {
		return "", nil, usageError{fmt.Errorf("--addr %s: want one IP of this machine", o.ip)}
	}
	if o.host == "" {
		o.host, _ = os.Hostname()
	}
	dir, err := makeDir(absolute(path), roleOSD)
	if err != nil {
		return "", nil, err
	}
	d, err := joinAndStart(ctx, p, dir, ip, o)
	stop, err := dir.kept(d, err)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("spirula osd.%d is ready at %s", dir.file.ID, d.osd.Addr()), stop, nil
}

func joinAndStart(ctx context.Context, p *process, dir *dataDir, ip netip.Addr, o joinOptions) (*osdDaemon, error) {
	own := filepath.Join(dir.path, confFile)
	if o.conf == "" {
		if dir.fresh {
			return nil, usageError{errors.New("a new OSD needs --conf: the ceph.conf that the cluster's mon wrote")}
		}
		o.conf = own
	}
	conf, err := rados.ReadConfig(o.conf)
	if err != nil {
		return nil, err
	}
	_, uuid, err := dir.identity()
	if err != nil {
		return nil, err
	}
	if dir.fresh {
		if err := join(ctx, p, dir, conf, uuid, o); err != nil {
			return nil, err
		}
	}
	fsid, err := parseUUID(dir.file.FSID)
	if err != nil {
		return nil, err
	}
	a := newRemoteAccess(conf.MonAddrs, conf.Auth, p.log)
	m, err := ownMember(dir, a.auth)
	if err != nil {
		return nil, err
	}
	d, err := startOSD(osdOptions{
		dir: dir, fsid: fsid, uuid: uuid, id: dir.file.ID, host: o.host, ip: ip, access: a, member: m,
		memory: p.memory, log: p.log, fatal: p.fatal,
	})
	if err != nil {
		return nil, err
	}
	if err = dir.finish(); err == nil {
		err = a.publishFor(dir, fsid, filepath.Join(dir.path, ownKeys))
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// join makes the OSD known to the cluster: its number, and its key, which is
// kept in the directory's keyring.
func join(ctx context.Context, p *process, dir *dataDir, conf *rados.Config, uuid wire.FSID, o joinOptions) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c, err := rados.Dial(ctx, conf, p.log)
	if err != nil {
		// Not wrapped: an EACCES of the cluster's is not the directory's.
		return fmt.Errorf("can't join the cluster of %s: %v", o.conf, err)
	}
	defer c.Close()
	cmd := map[string]any{"prefix": "osd new", "uuid": uuid.String(), "format": "json"}
	if o.id >= 0 {
		cmd["id"] = o.id
	}
	out, err := c.Mon().Command(ctx, cmd, nil)
	if err != nil {
		return err
	}
	var made struct {
		ID int32 `json:"osdid"`
	}
	if err := json.Unmarshal(out, &made); err != nil {
		return fmt.Errorf("answer to osd new: %w", err)
	}
	dir.file.ID, dir.file.FSID = made.ID, c.FSID().String()
	a := &access{auth: conf.Auth}
	m, err := a.member(ctx, c.Mon(), osdName(made.ID), osdCaps)
	if err != nil || m.cephx == nil {
		return err
	}
	k := cephx.Keyring{m.name: cephx.Entity{Key: m.key}}
	return dir.replace(ownKeys, k.Format(), 0o600)
}

// ownMember reads the key that join kept.
func ownMember(dir *dataDir, auth string) (*member, error) {
	name := osdName(dir.file.ID)
	if auth == authNone {
		return &member{name: name}, nil
	}
	b, err := os.ReadFile(filepath.Join(dir.path, ownKeys))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no keyring of %s here, and the cluster wants cephx: `ceph auth get %[1]s -o %s` writes it", name, filepath.Join(dir.path, ownKeys))
		}
		return nil, err
	}
	k, err := cephx.ParseKeyring(b)
	if err != nil {
		return nil, err
	}
	e, ok := k[name]
	if !ok {
		return nil, fmt.Errorf("%s has no key of %s: `ceph auth get %[2]s -o %[1]s` writes it", filepath.Join(dir.path, ownKeys), name)
	}
	return newMember(name, e.Key), nil
}

// absolute is path from the root; what can't be made so stays, and fails later.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
