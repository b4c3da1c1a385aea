// Package user keeps the S3 users of a cluster: name, access keys, and the
// uid and gid that their objects carry over NFS.
//
// # Where
//
// One object, "users" in the namespace "users" of the metadata pool, holds
// all of them in its omap, so that any gateway on the cluster knows them:
//
//	u/NAME        the user's record
//	k/ACCESSKEY   the record of a key: whose it is
//
// A record is: version (u8), oldest reader (u8), length of the body (u32),
// body, CRC-32C of all before it (u32). Integers are little-endian; strings
// are a u32 length and their bytes. Body of a user: name, uid u32, gid u32,
// flags u32 (1: admin), created i64 nanoseconds, number of keys u32, then for
// each access key, secret, created i64. Body of a key: name.
//
// # How it changes
//
// Every change is one operation vector whose OMAP_CMP states what the writer
// saw: the record it replaces, or that there was none. Two gateways that
// change the same user therefore never overwrite each other: the second is
// refused (ECANCELED), reads again, and decides again.
//
// # Who reads it
//
// Every signed request asks for an access key. Store.ByAccessKey answers from
// memory for a few seconds and then reads again, so a removed key is refused
// everywhere within Options.Fresh. Unknown keys are remembered as well, for a
// shorter time, so that guessing does not reach the cluster.
//
// Secrets are of type Secret, which no format verb and no logger prints.
package user
