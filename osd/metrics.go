package osd

import "sync/atomic"

// Metrics counts what a daemon did since it was made.
type Metrics struct {
	Reads, Writes         atomic.Int64 // requests executed
	ReadBytes, WriteBytes atomic.Int64 // data of READ answers, and of write operations
	Errors                atomic.Int64 // requests answered with an error
	Dups                  atomic.Int64 // resends answered without executing
	Dropped               atomic.Int64 // requests not answered: their clients resend
	Held                  atomic.Int64 // requests that waited for admission
	Overrun               atomic.Int64 // connections closed because too many waited
	Trimmed               atomic.Int64 // objects from which a removed snapshot was taken
}
