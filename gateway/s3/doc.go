// Package s3 is the S3 door of the namespace: an http.Handler that speaks
// Amazon's REST protocol over an FS (package mds).
//
// # The way of a request
//
// Gateway.ServeHTTP goes through a router with one route, because keys are
// paths that nobody may clean, and because a route for each operation is
// dear. Then, in order (request.run): the query is parsed; host and path are
// split into bucket and key, from the path as it came; a table chooses the
// operation by method and sub-resource (route.go); the signature is checked
// (internal/sig); the bucket is found and must be the sender's; the
// operation's handler runs. An upload's handler looks at all headers, at
// conditions, and at the upload's existence, and waits for room, before it
// first touches the body: only then does net/http send 100 Continue, so
// refused uploads cost nothing.
//
// Handlers return errors of any kind; toAPI, the one table from the
// namespace's errors to S3's codes, turns them into S3's XML. Once the head
// of an answer is out, a failure cuts the connection: a body that is shorter
// than announced never looks whole.
//
// # Bytes
//
// A body is read into pooled buffers (wire.Buf) of 4 KiB to 1 MiB, digested
// there, and handed to mds.Writer without a copy; MD5 of large bodies runs in
// a goroutine beside. Objects are read in pieces of 256 KiB to 1 MiB, the
// next one fetched while the last one is in the socket.
//
// # Bounds
//
// Bytes of uploads are admitted before they are read (Options
// .MaxInflightBytes), those of downloads before they are fetched
// (MaxReadBytes); who waits too long is answered SlowDown. A request is
// charged once, for all it holds at a time. What a Writer has in flight
// beyond that is bounded by the Writer, whose Write blocks. Listings have at
// most 1000 entries, XML requests a few MiB, connections are limited
// (Serve), and a transfer that stands still is cut.
//
// # Access
//
// A bucket belongs to the user who made it, and is closed to others. One
// that was made over NFS belongs to the user with its directory's uid.
// Admins may use all. What is stored is owned, over NFS, by the user's uid
// and gid.
//
// # Not there yet
//
// Versions, tags, ACLs other than the owner's, policies, CORS, lifecycle,
// encryption, object lock: asking for such a configuration tells that there
// is none, by S3's own codes; setting one is NotImplemented (501).
//
// What net/http itself refuses, a malformed request line or path escape or
// headers beyond 64 KiB, gets its plain answer and not S3's XML.
//
// Nothing here keeps state outside the FS; any number of gateways may run.
package s3
