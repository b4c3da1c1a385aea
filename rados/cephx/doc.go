// Package cephx proves who an entity of a cluster is, and says what it may
// do: Ceph's cephx protocol on both sides, keyrings, tickets, the rotating
// secrets under which tickets are sealed, and capabilities ("caps").
//
// # The protocol
//
// An entity (client.admin, osd.3) shares a secret key with the mons. It proves
// to a mon that it knows the key by answering a challenge, and is given
// tickets: one for the mons themselves ("auth"), one for each kind of daemon.
// A ticket has two halves. One is for the entity: a session key, sealed with
// a key it knows. The other is for the daemons: the entity's name, number,
// caps and the same session key, sealed with a secret that daemons of that
// kind share with the mons. To a daemon the entity shows the second half and
// proves, against a challenge of that one connection, that it knows the
// session key; the daemon needs no mon for it. Both ends then sign what went
// over the wire with the session key (package msgr), and in secure mode
// encrypt the rest with a random secret that the acceptor chose.
//
// Client is the side that dials, MonAuth and ServiceAuth the sides that
// accept. All three are safe for concurrent use; each has one mutex at most,
// nothing is called under it.
//
// # The format
//
// Keys are AES-128. What is sealed is AES-128-CBC with a fixed vector and
// PKCS#7 padding, of an envelope with a magic number: Ceph's, and no better
// than it was when it was designed. It is not a MAC: a change of sealed bytes
// is found because the magic number, the padding or a field no longer fits.
// Every mismatch is the same EACCES to the peer.
//
// Every decoder here is bounded by the bytes at hand and gives an error for
// whatever does not fit.
package cephx
