package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/mon"
	"github.com/spirula/spirula/osd"
	"github.com/spirula/spirula/osd/kv"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados"
)

// openStore opens the object store of a data directory that is not in use.
func openStore(path string) (*dataDir, *store.Store, error) {
	dir, err := openDir(path, roleAll, roleOSD)
	if err != nil {
		return nil, nil, err
	}
	d, err := openStoreDir(dir)
	if err == nil {
		var s *store.Store
		if s, err = store.Open(d, store.Options{Log: slog.New(slog.DiscardHandler)}); err == nil {
			return dir, s, nil
		}
	}
	dir.close()
	return nil, nil, dirError(path, err)
}

func fsckCommand() *cobra.Command {
	var opts store.FsckOptions
	var namespace bool
	cmd := &cobra.Command{
		Use:   "fsck DIR",
		Short: "Check a data directory that is not in use",
		Args:  cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	cmd.Flags().BoolVar(&opts.Deep, "deep", false, "read all data too, and check its checksums")
	cmd.Flags().BoolVar(&namespace, "namespace", false, "check the namespace too, after replaying its journal")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		report, err := fsckStore(args[0], opts)
		if err == nil && namespace {
			var more []string
			more, err = scrub(cmd.Context(), args[0])
			report.Problems = append(report.Problems, more...)
		}
		if err != nil {
			return err
		}
		err = output.print(cmd.OutOrStdout(), report, func(w io.Writer) {
			for _, p := range report.Problems {
				fmt.Fprintln(w, p)
			}
			fmt.Fprintf(w, "%d objects looked at, %d problems\n", report.Objects, len(report.Problems))
		})
		if err == nil && len(report.Problems) > 0 {
			err = errors.New("the store is damaged: copy the directory before anything else, then restore the objects named above from a backup")
		}
		return err
	}
	return cmd
}

func fsckStore(path string, opts store.FsckOptions) (store.FsckReport, error) {
	dir, s, err := openStore(path)
	if err != nil {
		return store.FsckReport{}, err
	}
	defer dir.close()
	report, err := s.Fsck(opts)
	if e := s.Close(); err == nil {
		err = e
	}
	if err != nil {
		return report, dirError(path, err)
	}
	return report, nil
}

// dumpParts are what dump can print, by name.
var dumpParts = []struct {
	name, help string
	dump       func(ctx context.Context, path string, w io.Writer) error
}{
	{"mon", "the mon's state: raft log, maps, pools", dumpMon},
	{"store", "the object store: superblock, objects, extents, log", dumpStore},
	{"osd", "the placement groups: info, logs", dumpOSD},
	{"mds", "the namespace's journal, event by event", dumpMDS},
	{"tree", "the namespace as its journal left it written back: directories, inode table", dumpTree},
}

func dumpCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "Print what lies in a data directory that is not in use",
	}
	for _, p := range dumpParts {
		cmd.AddCommand(&cobra.Command{
			Use: p.name + " DIR", Short: p.help, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				w := bufio.NewWriter(cmd.OutOrStdout())
				defer w.Flush()
				return p.dump(cmd.Context(), args[0], w)
			},
		})
	}
	return cmd
}

func dumpMon(_ context.Context, path string, w io.Writer) error {
	dir, err := openDir(path, roleAll, roleMon)
	if err != nil {
		return err
	}
	defer dir.close()
	db, err := kv.Open(dir.disk, monDir, kv.Options{Journal: true})
	if err != nil {
		return dirError(path, err)
	}
	defer db.Close()
	if err := mon.Dump(&monKV{db: db}, w); err != nil {
		return dirError(path, err)
	}
	return db.Dump(w, nil, nil, func(key, value []byte) string {
		return fmt.Sprintf("%s %d bytes", strconv.QuoteToASCII(string(key)), len(value))
	})
}

func dumpStore(_ context.Context, path string, w io.Writer) error {
	dir, s, err := openStore(path)
	if err != nil {
		return err
	}
	defer dir.close()
	defer s.Close()
	return s.Dump(w)
}

func dumpOSD(_ context.Context, path string, w io.Writer) error {
	dir, s, err := openStore(path)
	if err != nil {
		return err
	}
	defer dir.close()
	defer s.Close()
	return osd.Dump(s, w)
}

// withMeta runs f over the metadata pool: mon and OSD are started for it,
// without gateways, and without taking the mds's rank.
func withMeta(ctx context.Context, path string, f func(cl *cluster, meta *rados.IOCtx) error) error {
	dir, err := openDir(path, roleAll)
	if err != nil {
		return err
	}
	defer dir.close()
	var c config
	c.each(func(s setting) { s.value.SetString(s.def) })
	c.Mon = monOff
	cl := newCluster(dir, slog.New(slog.DiscardHandler))
	defer cl.close(ctx)
	if err := cl.startCore(ctx, &c, func(error) {}); err != nil {
		return err
	}
	meta, _, err := cl.pools(ctx)
	if err != nil {
		return err
	}
	return f(cl, meta)
}

func dumpMDS(ctx context.Context, path string, w io.Writer) error {
	return withMeta(ctx, path, func(_ *cluster, meta *rados.IOCtx) error { return mds.Dump(ctx, meta, 0, w) })
}

func dumpTree(ctx context.Context, path string, w io.Writer) error {
	return withMeta(ctx, path, func(_ *cluster, meta *rados.IOCtx) error { return mds.DumpTree(ctx, meta, w) })
}

// maxProblems bounds what a check of the namespace reports.
const maxProblems = 100

// scrub checks the namespace, after replaying its journal and purging what
// was removed.
func scrub(ctx context.Context, path string) (problems []string, err error) {
	err = withMeta(ctx, path, func(cl *cluster, _ *rados.IOCtx) error {
		if err := cl.startMDS(ctx, minMemory, func(error) {}); err != nil {
			return err
		}
		if err := cl.fs.Purged(ctx); err != nil {
			return err
		}
		return cl.fs.Scrub(ctx, func(p string) {
			if len(problems) < maxProblems {
				problems = append(problems, p)
			}
		})
	})
	return problems, err
}
