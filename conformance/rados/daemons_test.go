package rados

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/conformance/launch"
)

// daemons are a mon and OSDs, each in a process of its own.
type daemons struct {
	*shell
	mon  *launch.Process
	osds []*launch.Process
	dirs []string // of the OSDs
}

// startDaemons brings up n OSDs, each on a host of its own as CRUSH sees it.
func startDaemons(t *testing.T, n int) *daemons {
	t.Helper()
	needs(t, "rados", "ceph")
	if foreign().foreign {
		t.Skip("these daemons are killed: not somebody else's")
	}
	// Not below t.TempDir, whose long names would be in every line of log.
	dir, err := os.MkdirTemp("", "spirula-daemons-")
	if err != nil {
		t.Fatal(err)
	}
	d := &daemons{}
	t.Cleanup(func() {
		for _, p := range append(d.osds, d.mon) {
			if p == nil {
				continue
			}
			p.Kill()
			if t.Failed() {
				t.Logf("the end of %s:\n%s", filepath.Base(p.Log), p.Tail())
			}
		}
		if t.Failed() && os.Getenv("SPIRULA_KEEP") != "" {
			t.Logf("kept: %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	addr, err := launch.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	d.mon = d.up(t, filepath.Join(dir, "mon.log"), "mon", filepath.Join(dir, "mon"), "--addr", addr)
	conf := filepath.Join(dir, "mon", "ceph.conf")
	for i := range n {
		d.dirs = append(d.dirs, filepath.Join(dir, fmt.Sprintf("osd.%d", i)))
		d.osds = append(d.osds, d.up(t, d.dirs[i]+".log", "osd", d.dirs[i], "--id", fmt.Sprint(i), "--conf", conf, "--host", fmt.Sprintf("host%d", i)))
	}
	d.shell = newShell(t, cluster{conf: conf})
	d.eventually(time.Minute, fmt.Sprintf("%d OSDs are up", n), func() bool { return d.upOSDs() == n })
	return d
}

func (d *daemons) up(t *testing.T, log string, args ...string) *launch.Process {
	t.Helper()
	p, err := launch.NewProcess(log, args...)
	if err == nil {
		err = p.Up()
	}
	if err != nil {
		t.Fatalf("spirula %s: %v", strings.Join(args, " "), err)
	}
	return p
}

func (d *daemons) upOSDs() int {
	d.Helper()
	n, _ := at(d.cephJSON(nil, "osd", "stat"), "num_up_osds").(float64)
	return int(n)
}

// clean waits until every placement group is active+clean, and no fewer than
// all are.
func (d *daemons) clean(bound time.Duration) {
	d.Helper()
	var last string
	defer func() {
		if d.Failed() {
			d.Logf("pg stat: %s", last)
		}
	}()
	d.eventually(bound, "all placement groups are active+clean", func() bool {
		last = d.ceph("pg", "stat", "-f", "json")
		var v struct {
			Summary struct {
				States []struct {
					Name string
					Num  int
				} `json:"num_pg_by_state"`
				PGs int `json:"num_pgs"`
			} `json:"pg_summary"`
		}
		d.decode(last, &v)
		s := v.Summary
		return len(s.States) == 1 && s.States[0].Name == "active+clean" && s.States[0].Num == s.PGs && s.PGs > 0
	})
}

// replicated makes a pool with that many copies.
func (d *daemons) replicated(size int) string {
	d.Helper()
	name := d.pool()
	d.ceph("osd", "pool", "set", name, "size", fmt.Sprint(size))
	d.ceph("osd", "pool", "set", name, "min_size", fmt.Sprint(max(1, size-1)))
	return name
}
