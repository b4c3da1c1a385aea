package store

// FsckOptions says how thorough Fsck is.
type FsckOptions struct {
	// Deep reads all data and checks its checksums.
	Deep bool
	// Max bounds the problems reported; 0 means 100.
	Max int
}

// FsckReport is what Fsck found.
type FsckReport struct {
	Objects  int64
	Units    int64    // allocation units in use
	Problems []string // one line each, in the order found
	More     bool     // there were more problems than asked for
}

// Fsck checks.
func (s *Store) Fsck(o FsckOptions) (FsckReport, error) { return FsckReport{}, nil }
