package cls

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// The class numops: decimal numbers in omap entries, changed where they lie.

// numDigits is how many significant digits a result keeps.
const numDigits = 10

// parseNumber reads all of s as C's strtod does: white space before it,
// decimal or hexadecimal, inf and nan, no text at all is 0, what is too large
// is infinite.
func parseNumber(s string) (float64, bool) {
	s, _, _ = strings.Cut(s, "\x00")
	if s == "" {
		return 0, true
	}
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	if s == "" || strings.Contains(s, "_") {
		return 0, false
	}
	if h := strings.ToLower(s); strings.Contains(h, "0x") && !strings.Contains(h, "p") {
		s += "p0"
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil || errors.Is(err, strconv.ErrRange)
}

func formatNumber(v float64) string {
	switch {
	case math.IsInf(v, 0):
		return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(v, 'g', -1, 64)), "+")
	case math.IsNaN(v):
		return "nan"
	}
	return strconv.FormatFloat(v, 'g', numDigits, 64)
}

// numop is a method that puts f of the stored value, a missing one being 0,
// and of the operand in its place.
func numop(f func(stored, operand float64) float64) func(object, []byte) ([]byte, int32) {
	return func(o object, in []byte) ([]byte, int32) {
		d := wire.NewDecoder(in)
		key, text := d.Str(), d.Str()
		operand, ok := parseNumber(text)
		if d.Err() != nil || !ok {
			return nil, fail(wire.EINVAL)
		}
		kvs, e := o.omapGet([]string{key})
		if e != 0 && e != wire.ENOENT {
			return nil, fail(e)
		}
		stored := 0.0
		if len(kvs) > 0 && len(kvs[0].Value) > 0 {
			if stored, ok = parseNumber(string(kvs[0].Value)); !ok {
				return nil, fail(eBadData)
			}
		}
		return nil, fail(o.omapSet(wire.KV{Key: key, Value: []byte(formatNumber(f(stored, operand)))}))
	}
}

var numopsMethods = []Method{
	{"add", true, true, numop(func(a, b float64) float64 { return a + b })},
	{"mul", true, true, numop(func(a, b float64) float64 { return a * b })},
}
