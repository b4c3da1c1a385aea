package tree

import "strings"

// SplitToken takes the first token off an S3 key: "a/b/c" gives "a/" and
// "b/c"; "c" gives "c" and "", with last true: a file token, which is empty
// when the key ended in a slash.
func SplitToken(key string) (token, rest string, last bool) {
	if i := strings.IndexByte(key, '/'); i >= 0 {
		return key[:i+1], key[i+1:], false
	}
	return key, "", true
}

// IsDirToken reports whether token is a directory's.
func IsDirToken(token string) bool { return strings.HasSuffix(token, "/") }
