package rados

import (
	"strings"
	"testing"
)

// TestFioVerifiesWhatItWrote has fio write random blocks of 4 KiB over 64 MB of
// objects, and read all of them back against their checksums.
func TestFioVerifiesWhatItWrote(t *testing.T) {
	needs(t, "fio", "ceph")
	t.Parallel()
	s := newShell(t, judged(t))
	pool := s.pool()
	size := "8m" // of each of the objects
	if fullRun {
		size = "64m"
	}
	out := s.run("fio", "--name=verify", "--ioengine=rados", "--clientname=admin", "--pool="+pool, "--conf="+s.conf, "--busy_poll=0", "--rw=randwrite",
		"--bs=4k", "--size="+size, "--nrfiles=8", "--filesize="+size, "--iodepth=16", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--randseed=7", "--output-format=json")
	var report struct {
		Jobs []struct {
			Error       int
			Read, Write struct {
				TotalIOs int64 `json:"total_ios"`
				Bytes    int64 `json:"io_bytes"`
			}
		}
	}
	s.decode(out[max(0, strings.Index(out, "{")):], &report)
	if len(report.Jobs) != 1 || report.Jobs[0].Error != 0 || report.Jobs[0].Write.Bytes == 0 || report.Jobs[0].Read.Bytes < report.Jobs[0].Write.Bytes {
		t.Errorf("%+v\n%s", report, out)
	}
}
