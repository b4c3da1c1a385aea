package store_test

import (
	"testing"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/store/storetest"
)

// TestSuite runs the suite on every implementation, and on the store over a
// real folder as well.
func TestSuite(t *testing.T) {
	t.Run("Model", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) storetest.Objects {
			return storetest.NewModel(storetest.ModelOptions{})
		})
	})
	t.Run("Memory", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Objects { return newStore(t, disk.NewMem(), small()) })
	})
	t.Run("Folder", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Objects {
			d, err := disk.OpenDir(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return newStore(t, d, small())
		})
	})
}
