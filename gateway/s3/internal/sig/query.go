package sig

import "strings"

// MaxParams is how many query parameters a request may have. S3's own
// requests have fewer than twenty.
const MaxParams = 128

// Param is one query parameter, decoded. Eq tells "uploads=" from "uploads",
// which Version 2 signs differently.
type Param struct {
	Key, Value string
	Eq         bool
}

// Query is a query string's parameters in the order in which they came.
type Query []Param

// ParseQuery decodes a raw query string; '+' is a space. A bad escape, or
// more than MaxParams parameters, is an error with code InvalidArgument.
func ParseQuery(raw string) (Query, error) {
	if raw == "" {
		return nil, nil
	}
	n := strings.Count(raw, "&") + 1
	if n > MaxParams {
		return nil, fail("InvalidArgument", "Too many query parameters")
	}
	q := make(Query, 0, n)
	for raw != "" {
		var item string
		item, raw, _ = strings.Cut(raw, "&")
		if item == "" {
			continue
		}
		k, v, eq := strings.Cut(item, "=")
		key, ok1 := unescape(k)
		val, ok2 := unescape(v)
		if !ok1 || !ok2 {
			return nil, fail("InvalidArgument", "The query string has a malformed escape")
		}
		q = append(q, Param{key, val, eq})
	}
	return q, nil
}

// Get gives the first value of key, and whether key is there at all.
func (q Query) Get(key string) (string, bool) {
	for i := range q {
		if q[i].Key == key {
			return q[i].Value, true
		}
	}
	return "", false
}

// Value is Get without the second result.
func (q Query) Value(key string) string {
	v, _ := q.Get(key)
	return v
}

// Has reports whether key is there, with or without a value.
func (q Query) Has(key string) bool {
	_, ok := q.Get(key)
	return ok
}

func unescape(s string) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '+':
			out = append(out, ' ')
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi > 15 || lo > 15 {
				return "", false
			}
			out = append(out, hi<<4|lo)
			i += 2
		default:
			out = append(out, c)
		}
	}
	return string(out), true
}

// unhex is over 15 for what is no hex digit.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xFF
}

const upperHex = "0123456789ABCDEF"

// AppendEscaped appends s as AWS encodes URIs: all but letters, digits and
// -._~ becomes %XX; slash keeps '/' as it is.
func AppendEscaped(dst []byte, s string, slash bool) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if unreserved[c] || (slash && c == '/') {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
	}
	return dst
}

var unreserved = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '_' || c == '.' || c == '~'
	}
	return t
}()
