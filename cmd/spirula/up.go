package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/spirula/spirula/gateway/nfs"
	"github.com/spirula/spirula/gateway/s3"
)

func upCommand() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "up DIR",
		Short: "Run everything in one process: mon, osd, mds, S3, NFS and a status page",
		Long: `Run everything in one process, with all data in DIR, which is made on the first
start. Ctrl-C stops it cleanly; after a kill or a loss of power the next start
takes up where it was.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("up needs one directory: spirula up ./data")}
			}
			return nil
		},
	}
	c.addFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.load(cmd); err != nil {
			return err
		}
		return up(cmd.Context(), args[0], &c, cmd.OutOrStdout())
	}
	return cmd
}

// stopTimeout bounds a clean stop; what takes longer is cut, as by a kill.
const stopTimeout = 60 * time.Second

// server is what runs beside the cluster until the end.
type server struct {
	name  string
	serve func(ctx context.Context) error
}

// up runs everything until a signal or a fatal error.
func up(ctx context.Context, path string, c *config, out io.Writer) error {
	started := time.Now()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	// The budget covers caches and data in flight; the rest of the process
	// needs a little beside it.
	debug.SetMemoryLimit(c.memory() + 48<<20)
	log := newLog(c.LogLevel)
	fatal := func(err error) {
		log.Error("fatal, stopping", "err", err)
		fail(fmt.Errorf("fatal: %w", err))
		// Nothing may be acknowledged after this, so nothing is waited for
		// long.
		time.AfterFunc(5*time.Second, func() { os.Exit(1) })
	}

	path, err := filepath.Abs(path)
	if err != nil {
		return dirError(path, err)
	}
	dir, err := makeDir(path, roleAll)
	if err != nil {
		return err
	}
	defer dir.close()
	var l listeners
	defer l.close()
	if err := l.open(c, dir.path); err != nil {
		return err
	}
	keys, err := dir.keys(c.AccessKey, c.SecretKey)
	if err != nil {
		return err
	}
	cl, err := startCluster(ctx, dir, c, log, fatal)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := cl.close(end); err != nil {
			log.Error("the stop was not clean; the next start recovers", "err", err)
		}
	}()
	if err := cl.firstUser(ctx, keys); err != nil {
		return dirError(path, err)
	}
	if err := dir.finish(); err != nil {
		return err
	}
	st := newStatus(cl, c, &l, keys, started)
	servers := gateways(cl, c, &l, st, log)
	st.ready.Store(true)
	st.banner(out)
	err = serveAll(ctx, servers, fail)
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

func newLog(level string) *slog.Logger {
	var l slog.Level
	l.UnmarshalText([]byte(level)) // was checked
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
}

// gateways makes the servers that face users.
func gateways(cl *cluster, c *config, l *listeners, st *status, log *slog.Logger) []server {
	s3gw := s3.New(s3.Options{
		FS: cl.fs, Users: cl.users, Region: c.Region, Domain: c.Domain, Log: log.With("gateway", "s3"),
		MaxInflightBytes: c.memory() / 6, MaxReadBytes: c.memory() / 12,
	})
	nfsgw := nfs.New(nfs.Options{FS: cl.fs, FSID: cl.fsid64(), RootSquash: c.Squash == "root", MaxInflightBytes: c.memory() / 6, MaxReadBytes: c.memory() / 12, Log: log.With("gateway", "nfs")})
	st.s3, st.nfs = s3gw, nfsgw
	return []server{
		{"S3", func(ctx context.Context) error {
			defer s3gw.Close()
			return s3.Serve(ctx, l.s3, s3gw)
		}},
		{"NFS", func(ctx context.Context) error { return nfsgw.Serve(ctx, l.nfs) }},
		{"status", func(ctx context.Context) error { return serveHTTP(ctx, l.status, st.public()) }},
		{"admin", func(ctx context.Context) error { return serveHTTP(ctx, l.admin, st.admin()) }},
	}
}

// serveAll runs the servers until ctx ends or one of them fails.
func serveAll(ctx context.Context, servers []server, fail context.CancelCauseFunc) error {
	var wg sync.WaitGroup
	errs := make([]error, len(servers))
	for i, s := range servers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := s.serve(ctx); err != nil {
				errs[i] = fmt.Errorf("%s server: %w", s.name, err)
				fail(errs[i])
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// listeners are the sockets of a running process.
type listeners struct {
	s3, nfs, status, admin net.Listener
}

// open binds everything before anything is started, so that a port in use is
// told at once.
func (l *listeners) open(c *config, dir string) (err error) {
	if l.s3, err = listen("S3", "--s3", c.S3); err != nil {
		return err
	}
	if l.nfs, err = listen("NFS", "--nfs", c.NFS); err != nil {
		return err
	}
	if l.status, err = listen("the status page", "--status", c.Status); err != nil {
		return err
	}
	// The lock on the directory proves that a socket there is a leftover.
	name := filepath.Join(dir, adminFile)
	os.Remove(name)
	old := syscall.Umask(0o077)
	l.admin, err = net.Listen("unix", name)
	syscall.Umask(old)
	if err != nil {
		return fmt.Errorf("can't make %s: %w (a path of at most about 100 bytes is needed: choose a shorter one)", name, err)
	}
	return nil
}

func listen(what, flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use, so %s can't listen there: stop what uses it, or choose another with %s", addr, what, flag)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("no permission to listen on %s for %s: choose a port above 1023 with %s", addr, what, flag)
	}
	return nil, usageError{fmt.Errorf("%s %s: %w", flag, addr, err)}
}

func (l *listeners) close() {
	for _, c := range []net.Listener{l.s3, l.nfs, l.status, l.admin} {
		if c != nil {
			c.Close()
		}
	}
}

// reachable is a listener's address as somebody on this machine would use it.
func reachable(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// mountCommand is how to mount the export.
func mountCommand(l net.Listener) string {
	host, port, _ := strings.Cut(reachable(l), ":")
	return fmt.Sprintf("mount -t nfs -o vers=3,tcp,nolock,port=%s,mountport=%s,mountproto=tcp %s:/ /mnt", port, port, host)
}
