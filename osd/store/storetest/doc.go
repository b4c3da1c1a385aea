// Package storetest has what tests of an object store, or of something above
// one, need: Model, a naive twin of store.Store that keeps everything in
// maps, and Run, a suite that any implementation must pass.
//
// Model has the methods of store.Store with the same signatures and the same
// meaning, errors included. It is for tests of package osd, too: it is fast,
// needs no disk and can be told to fail.
package storetest
