package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spirula/spirula/rados/wire"
)

const (
	xmlHead   = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
	// maxPooledXML keeps a huge answer's buffer from staying in the pool.
	maxPooledXML = 1 << 20
)

// xmlBuf builds an XML answer by appending. encoding/xml's reflection costs
// more than all else that a listing does.
type xmlBuf struct{ b []byte }

var xmlPool = sync.Pool{New: func() any { return &xmlBuf{make([]byte, 0, 4096)} }}

func newXML() *xmlBuf {
	x := xmlPool.Get().(*xmlBuf)
	x.b = append(x.b[:0], xmlHead...)
	return x
}

func (x *xmlBuf) free() {
	if cap(x.b) <= maxPooledXML {
		xmlPool.Put(x)
	}
}

func (x *xmlBuf) open(tag string) {
	x.b = append(x.b, '<')
	x.b = append(x.b, tag...)
	x.b = append(x.b, '>')
}

// root opens the outermost element, in S3's namespace.
func (x *xmlBuf) root(tag string) {
	x.b = append(x.b, '<')
	x.b = append(x.b, tag...)
	x.b = append(x.b, ` xmlns="`+namespace+`">`...)
}

func (x *xmlBuf) close(tag string) {
	x.b = append(x.b, '<', '/')
	x.b = append(x.b, tag...)
	x.b = append(x.b, '>')
}

func (x *xmlBuf) elem(tag, text string) {
	x.open(tag)
	x.b = appendText(x.b, text)
	x.close(tag)
}

// optional is elem, or nothing when text is empty.
func (x *xmlBuf) optional(tag, text string) {
	if text != "" {
		x.elem(tag, text)
	}
}

func (x *xmlBuf) number(tag string, n int64) {
	x.open(tag)
	x.b = strconv.AppendInt(x.b, n, 10)
	x.close(tag)
}

func (x *xmlBuf) boolean(tag string, v bool) {
	x.open(tag)
	x.b = strconv.AppendBool(x.b, v)
	x.close(tag)
}

func (x *xmlBuf) time(tag string, t wire.Time) {
	x.open(tag)
	x.b = t.Std().AppendFormat(x.b, "2006-01-02T15:04:05.000Z")
	x.close(tag)
}

func (x *xmlBuf) etag(etag string) {
	x.open("ETag")
	x.b = append(x.b, "&quot;"...)
	x.b = appendText(x.b, etag)
	x.b = append(x.b, "&quot;"...)
	x.close("ETag")
}

func (x *xmlBuf) owner(id string) { x.person("Owner", id) }

func (x *xmlBuf) person(tag, id string) {
	x.open(tag)
	x.elem("ID", id)
	x.elem("DisplayName", id)
	x.close(tag)
}

// appendText escapes s for XML. What XML 1.0 cannot carry, invalid UTF-8
// included, becomes U+FFFD; encoding-type=url is for clients who need it
// exact.
func appendText(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '&':
				b = append(b, "&amp;"...)
			case c == '<':
				b = append(b, "&lt;"...)
			case c == '>':
				b = append(b, "&gt;"...)
			case c == '"':
				b = append(b, "&quot;"...)
			case c == '\'':
				b = append(b, "&#39;"...)
			case c == '\t' || c == '\n' || c == '\r':
				b = append(b, '&', '#')
				b = strconv.AppendInt(b, int64(c), 10)
				b = append(b, ';')
			case c < ' ':
				b = append(b, "\uFFFD"...)
			default:
				b = append(b, c)
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError || r == 0xFFFE || r == 0xFFFF {
			b = append(b, "\uFFFD"...)
		} else {
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return b
}

// sendXML answers with a document.
func (rq *request) sendXML(status int, x *xmlBuf) {
	h := rq.w.Header()
	h["Content-Type"] = xmlType
	h["Content-Length"] = []string{strconv.Itoa(len(x.b))}
	rq.status(status)
	if rq.r.Method != http.MethodHead {
		rq.w.Write(x.b)
	}
}

var xmlType = []string{"application/xml"}

// decodeXML reads a request's document into v. Anything but one document
// whose outermost element is root is MalformedXML.
func decodeXML(doc []byte, root string, v any) error {
	d := xml.NewDecoder(bytes.NewReader(doc))
	for {
		t, err := d.Token()
		if err != nil {
			return malformedXML(err)
		}
		start, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		if start.Name.Local != root {
			return malformedXML(errors.New("the document is no " + root))
		}
		if err := d.DecodeElement(v, &start); err != nil {
			return malformedXML(err)
		}
		break
	}
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return malformedXML(err)
		}
		if _, more := t.(xml.StartElement); more {
			return malformedXML(errors.New("a second document follows"))
		}
	}
}

func malformedXML(cause error) error {
	e := fault("MalformedXML")
	e.cause = cause
	return e
}

// httpTime is t as HTTP headers have it.
func httpTime(t wire.Time) string { return t.Std().Format(http.TimeFormat) }

// parseHTTPTime reads a date of a condition; a bad one counts as absent, as
// RFC 9110 says.
func parseHTTPTime(s string) (time.Time, bool) {
	if s == "" {
		return time.Time{}, false
	}
	t, err := http.ParseTime(s)
	return t, err == nil
}
