package s3

import (
	"strconv"
	"strings"
)

// span is a range of an object's bytes.
type span struct{ off, n uint64 }

// parseRange reads a Range header for an object of the given size. ok is
// false when the whole object is to be sent: no header, another unit, more
// than one range (S3 serves one), or not a range at all, as RFC 9110 has it.
// A range with no byte in the object is InvalidRange.
func parseRange(header string, size uint64) (s span, ok bool, err error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(header), "bytes=")
	if !ok || strings.IndexByte(text, ',') >= 0 {
		return s, false, nil
	}
	first, last, ok := strings.Cut(strings.TrimSpace(text), "-")
	if !ok {
		return s, false, nil
	}
	if first == "" {
		n, ok := parseOffset(last)
		if !ok {
			return s, false, nil
		}
		if n == 0 || size == 0 {
			return s, false, badRange(header, size)
		}
		n = min(n, size)
		return span{size - n, n}, true, nil
	}
	from, ok := parseOffset(first)
	if !ok {
		return s, false, nil
	}
	to := size
	if last != "" {
		t, ok := parseOffset(last)
		if !ok || t < from {
			return s, false, nil
		}
		to = min(t, maxOffset) + 1
	}
	if from >= size {
		return s, false, badRange(header, size)
	}
	return span{from, min(to, size) - from}, true, nil
}

// maxOffset is where offsets that are too large for any object stop.
const maxOffset = 1<<63 - 2

// parseOffset reads digits only; a number beyond 63 bits is maxOffset.
func parseOffset(s string) (uint64, bool) {
	if s == "" {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return maxOffset, true
	}
	return min(n, maxOffset), true
}

func badRange(header string, size uint64) error {
	if len(header) > 128 {
		header = header[:128]
	}
	return fault("InvalidRange").with("RangeRequested", header).with("ActualObjectSize", strconv.FormatUint(size, 10))
}

// parseCopyRange reads x-amz-copy-source-range: both ends are needed and
// must lie in the source.
func parseCopyRange(header string, size uint64) (span, error) {
	text, ok := strings.CutPrefix(header, "bytes=")
	first, last, cut := strings.Cut(text, "-")
	from, ok1 := parseOffset(first)
	to, ok2 := parseOffset(last)
	if !ok || !cut || !ok1 || !ok2 || to < from {
		return span{}, invalid("x-amz-copy-source-range", header, "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
	}
	if to >= size {
		return span{}, invalid("x-amz-copy-source-range", header, "Range specified is not valid for source object of size: "+strconv.FormatUint(size, 10))
	}
	return span{from, to - from + 1}, nil
}
