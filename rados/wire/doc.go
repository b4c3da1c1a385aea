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
// Byte order and word sizes of the encodings are spelled out where the
// encodings are (Ceph's Pacific versions); nothing here depends on the
// machine's own.
package wire
