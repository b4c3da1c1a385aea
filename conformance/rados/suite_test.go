package rados

import (
	"testing"

	"github.com/spirula/spirula/rados/radostest"
)

// TestOurClient runs the suite of our client's API.
func TestOurClient(t *testing.T) {
	c := judged(t)
	vectors := 1500
	if fullRun {
		vectors = 20_000
	}
	if c.foreign {
		// A zero of length 0 is among the vectors, and ends an osd of Ceph's.
		vectors = 0
	}
	radostest.Suite(t, client(t, c.conf), vectors)
}
