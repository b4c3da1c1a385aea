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
	radostest.Suite(t, client(t, c.conf), vectors)
}
