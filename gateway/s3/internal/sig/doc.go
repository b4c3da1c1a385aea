// Package sig decides who sent an S3 request: AWS Signature Version 4 in the
// Authorization header, in the query (presigned) and over the chunks of a
// streamed body, and the older Version 2 in header and query.
//
// A caller goes through three steps: Parse reads what the request claims and
// checks everything that needs no secret (shape, scope, clock); the caller
// looks the access key up; Verify recomputes the signature. Nothing of the
// body is touched. For streamed bodies, Auth.Chunks then gives the chain of
// chunk signatures that starts at the request's own.
//
// What is signed, in Version 4:
//
//	AWS4-HMAC-SHA256 \n time \n scope \n hex(SHA-256(
//	    method \n path \n query, sorted \n headers, one a line \n \n
//	    names of signed headers \n hash of the payload, as claimed))
//
// Path and query are decoded as received and encoded again by one rule, so
// that clients which escape more or less than AWS does agree with us; if that
// does not fit, the path is tried as it came.
//
// Every request runs through here, so the canonical text is appended to a
// pooled buffer, HMACs are computed over arrays on the stack, and derived
// keys, which change once a day, are kept (Keys).
package sig
