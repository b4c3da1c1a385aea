// Package journal keeps the event log of one mds rank in the metadata pool
// and proves, by epochs compared in the same vector as each write, that only
// one holder of the rank can write it.
package journal
