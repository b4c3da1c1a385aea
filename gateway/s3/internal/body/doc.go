// Package body reads aws-chunked bodies: the framing that AWS's SDKs put
// around an upload so that signatures or a trailing checksum can come with
// the bytes.
//
//	body    = *chunk last [trailer]
//	chunk   = hex-size [";chunk-signature=" 64 hex digits] CRLF bytes CRLF
//	last    = the same with size 0, without bytes
//	trailer = *(name ":" value LF|CRLF) [CRLF "x-amz-trailer-signature:" 64 hex digits CRLF] CRLF
//
// Chunks may be of any size (aws-sdk-go-v2 sends a whole object as one, the
// AWS CLI 1 MiB each), so bytes are passed on as they come and a chunk's
// signature is looked at when its last byte was read: whoever reads must not
// let anybody see the bytes before io.EOF. Payload bytes are read straight
// into the caller's buffer, but for the few that came along with a chunk
// header.
package body
