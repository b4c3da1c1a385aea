package mon

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// align is the side of its column that a cell, or a title, is on.
type align bool

const (
	left  align = false
	right align = true
)

// column is one column of a table.
type column struct {
	title       string
	head, cells align
}

// table is text in columns, two spaces apart, every line padded to the same
// width, as Ceph's tools print it.
type table struct {
	cols []column
	rows [][]string
}

// newTable makes a table; specs are titles, with "<" in front for cells and
// title to the left, ">" for both to the right, none for cells to the right
// below a title to the left.
func newTable(specs ...string) *table {
	t := &table{}
	for _, s := range specs {
		c := column{title: s, head: left, cells: right}
		switch {
		case strings.HasPrefix(s, "<"):
			c = column{s[1:], left, left}
		case strings.HasPrefix(s, ">"):
			c = column{s[1:], right, right}
		}
		t.cols = append(t.cols, c)
	}
	return t
}

// row adds a line; missing cells are empty.
func (t *table) row(cells ...any) {
	r := make([]string, len(t.cols))
	for i, c := range cells {
		r[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, r)
}

func (t *table) String() string {
	width := make([]int, len(t.cols))
	for i, c := range t.cols {
		width[i] = utf8.RuneCountInString(c.title)
		for _, r := range t.rows {
			width[i] = max(width[i], utf8.RuneCountInString(r[i]))
		}
	}
	var b strings.Builder
	line := func(cells []string, side func(column) align) {
		for i, c := range cells {
			if i > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if side(t.cols[i]) == right {
				b.WriteString(pad + c)
			} else {
				b.WriteString(c + pad)
			}
		}
		b.WriteByte('\n')
	}
	titles := make([]string, len(t.cols))
	for i, c := range t.cols {
		titles[i] = c.title
	}
	line(titles, func(c column) align { return c.head })
	for _, r := range t.rows {
		line(r, func(c column) align { return c.cells })
	}
	return b.String()
}

// scaled prints n with the unit that keeps it short: without fraction where
// it divides, else with as many digits as fit into seven characters.
func scaled(n, base uint64, units []string) string {
	i, mult := 0, uint64(1)
	for n/mult >= base && i < len(units)-1 {
		mult *= base
		i++
	}
	if n%mult == 0 {
		return strconv.FormatUint(n/mult, 10) + units[i]
	}
	var s string
	for prec := 2; prec >= 0; prec-- {
		if s = strconv.FormatFloat(float64(n)/float64(mult), 'f', prec, 64) + units[i]; len(s) <= 7 {
			break
		}
	}
	return s
}

// size prints bytes for people.
func size(n uint64) string {
	return scaled(n, 1024, []string{" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"})
}

// count prints a number for people.
func count(n uint64) string { return scaled(n, 1000, []string{"", "k", "M", "G", "T", "P", "E"}) }

// span prints a length of time for people, in the largest unit that leaves
// two digits.
func span(d time.Duration) string {
	s := int64(d / time.Second)
	for _, u := range []struct {
		below, unit int64
		name        string
	}{{120, 1, "s"}, {120 * 60, 60, "m"}, {48 * 3600, 3600, "h"}, {14 * 86400, 86400, "d"}, {12 * 604800, 604800, "w"}} {
		if s < u.below {
			return strconv.FormatInt(s/u.unit, 10) + u.name
		}
	}
	return strconv.FormatInt(s/(30*86400), 10) + "M"
}

// short prints a number with up to six digits, as C++'s streams do.
func short(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }

// weightText prints a 16.16 weight with five decimals, 0 as such.
func weightText(w uint32) string {
	if w == 0 {
		return "0"
	}
	return strconv.FormatFloat(float64(w)/clustermapIn, 'f', 5, 64)
}

// osdList prints OSDs as [0,1]; one that is missing as NONE.
func osdList(v []int32) string {
	parts := make([]string, len(v))
	for i, o := range v {
		parts[i] = strconv.Itoa(int(o))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// plural prints "1 pg", "2 pgs".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// lines joins strings, one to a line.
func lines(v []string) string {
	var b strings.Builder
	for _, s := range v {
		b.WriteString(s)
		b.WriteByte('\n')
	}
	return b.String()
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
