package crush

import (
	"fmt"
	"strconv"
	"strings"
)

// TextError is what is wrong with a map's text.
type TextError struct {
	Line int // from 1
	Msg  string
}

// Error gives line and message.
func (e *TextError) Error() string { return fmt.Sprintf("crush: line %d: %s", e.Line, e.Msg) }

// Unwrap makes errors.Is(err, ErrMap) true.
func (e *TextError) Unwrap() error { return ErrMap }

// lexer splits a map's text into words: names and numbers, and the brackets
// {}[]. A # starts a comment to the end of the line.
type lexer struct {
	src  string
	off  int
	line int

	word     string // the current one; "" at the end
	wordLine int
}

func newLexer(src []byte) *lexer {
	l := &lexer{src: string(src), line: 1}
	l.next()
	return l
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0
}

// next moves to the next word.
func (l *lexer) next() {
	for ; l.off < len(l.src); l.off++ {
		c := l.src[l.off]
		if c == '#' {
			n := strings.IndexByte(l.src[l.off:], '\n')
			if n < 0 {
				l.off = len(l.src)
				break
			}
			l.off += n
			c = '\n'
		}
		if c == '\n' {
			l.line++
		} else if c != ' ' && c != '\t' && c != '\r' {
			break
		}
	}
	l.wordLine = l.line
	start := l.off
	for l.off < len(l.src) && isWord(l.src[l.off]) {
		l.off++
	}
	if l.off == start && l.off < len(l.src) {
		l.off++
	}
	l.word = l.src[start:l.off]
}

func (l *lexer) errorf(format string, args ...any) error {
	return &TextError{Line: l.wordLine, Msg: fmt.Sprintf(format, args...)}
}

// expected is the error for a word that does not belong there.
func (l *lexer) expected(what string) error {
	if l.word == "" {
		return l.errorf("expected %s, found the end", what)
	}
	return l.errorf("expected %s, found %q", what, l.word)
}

// accept moves on if the current word is w.
func (l *lexer) accept(w string) bool {
	if l.word != w {
		return false
	}
	l.next()
	return true
}

// expect demands the word w.
func (l *lexer) expect(w string) error {
	if !l.accept(w) {
		return l.expected(strconv.Quote(w))
	}
	return nil
}

// name takes a name; what says of what.
func (l *lexer) name(what string) (string, error) {
	if l.word == "" || !isWord(l.word[0]) {
		return "", l.expected(what)
	}
	w := l.word
	l.next()
	return w, nil
}

// number takes a whole number within lo and hi.
func (l *lexer) number(what string, lo, hi int64) (int64, error) {
	v, err := strconv.ParseInt(l.word, 10, 64)
	if err != nil {
		return 0, l.expected(what)
	}
	if v < lo || v > hi {
		return 0, l.errorf("%s %d is not within %d and %d", what, v, lo, hi)
	}
	l.next()
	return v, nil
}

// weight takes a weight in decimal: a float32, cut to 16.16.
func (l *lexer) weight(limit uint32) (uint32, error) {
	f, err := strconv.ParseFloat(l.word, 32)
	if err != nil || f != f {
		return 0, l.expected("a weight")
	}
	v := float32(f) * 65536
	if v < 0 || float64(v) > float64(limit) {
		return 0, l.errorf("weight %s is not within 0 and %d.0", l.word, limit>>16)
	}
	l.next()
	return uint32(v), nil
}
