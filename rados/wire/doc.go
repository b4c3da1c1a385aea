// Package wire holds the nouns of the RADOS protocol: identifiers, object
// operations, messages, error numbers, and the reference-counted buffers
// that carry data between a gateway's socket and an OSD's disk.
//
// A message is a Go struct shaped as Ceph's message of the same name. The
// in-process transport (rados/msgr) hands the struct over; the TCP transport
// encodes it at the socket and nowhere else.
//
// # Ownership
//
// These rules hold for every message and every Data:
//
//  1. A Buf is written by its one creator, before it is first sent or
//     queued. Afterwards nobody writes to it.
//  2. Whoever keeps a Data beyond the call that handed it over takes its own
//     reference (Data.Retain). A callee never releases its caller's.
//  3. A message is never changed after it was sent, by either side. A resend
//     is a new message header over the same operations and Data.
//  4. A reply's Data belongs to whoever receives the reply: one reference,
//     released once by the final consumer.
//
// # Encoding
//
// Encode turns a message into Parts, Decode does the reverse; Registry adds the
// messages of other packages. Versions, byte order and word sizes are those of
// Ceph's Pacific release, whatever the machine; messages between our own
// daemons have types from 0x8000 on. Encode takes references on the Data it
// puts into Parts. Decode copies what it keeps of the front, and takes
// references on what it keeps of the data: a transport releases its Parts.Data
// after either, calls MOSDOp.Release after Dispatch, and after sending a reply
// its Release, as the in-process receiver does.
//
// What comes from outside is bounded by the bytes at hand: a count that they
// cannot hold is an error, and so is a length beyond them. An operation whose
// input is malformed does not spoil its message; see OpInvalid in Op.
package wire
