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
	"github.com/spirula/spirula/osd"
	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/kv"
	"github.com/spirula/spirula/osd/store"
)

// openStore opens the object store of a data directory that is not in use.
func openStore(path string) (*dataDir, *store.Store, error) {
	dir, err := openDir(path, false)
	if err != nil {
		return nil, nil, err
	}
	d, err := disk.OpenDir(dir.path + "/" + osdDir)
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
	cmd := &cobra.Command{
		Use:   "fsck DIR",
		Short: "Check the object store of a data directory that is not in use",
		Args:  cobra.ExactArgs(1),
	}
	output := outputFlag(cmd)
	cmd.Flags().BoolVar(&opts.Deep, "deep", false, "read all data too, and check its checksums")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, s, err := openStore(args[0])
		if err != nil {
			return err
		}
		defer dir.close()
		report, err := s.Fsck(opts)
		if e := s.Close(); err == nil {
			err = e
		}
		if err != nil {
			return dirError(args[0], err)
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

// dumpParts are what dump can print, by name.
var dumpParts = []struct {
	name, help string
	dump       func(ctx context.Context, path string, w io.Writer) error
}{
	{"mon", "the mon's state: raft log, maps, pools", dumpMon},
	{"store", "the object store: superblock, objects, extents, log", dumpStore},
	{"osd", "the placement groups: info, logs", dumpOSD},
	{"mds", "the namespace's journal and records", dumpMDS},
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
	dir, err := openDir(path, false)
	if err != nil {
		return err
	}
	defer dir.close()
	db, err := kv.Open(dir.disk, monDir, kv.Options{Journal: true})
	if err != nil {
		return dirError(path, err)
	}
	defer db.Close()
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

// dumpMDS needs the cluster to run, for its pools: it is started without
// gateways, and without taking the mds's rank.
func dumpMDS(ctx context.Context, path string, w io.Writer) error {
	dir, err := openDir(path, false)
	if err != nil {
		return err
	}
	defer dir.close()
	var c config
	c.each(func(s setting) { s.value.SetString(s.def) })
	cl := newCluster(dir, slog.New(slog.DiscardHandler))
	defer cl.close(ctx)
	if err := cl.startCore(ctx, &c, func(error) {}); err != nil {
		return err
	}
	meta, data, err := cl.pools(ctx)
	if err != nil {
		return err
	}
	return mds.Dump(ctx, meta, data, 0, w)
}
