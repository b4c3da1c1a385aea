package body

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
)

// The bounds of the framing, in bytes and lines.
const (
	maxLine     = 1024    // a chunk header, or one trailing header
	maxTrailer  = 8 << 10 // all trailing headers
	maxTrailers = 16      // lines of them
	bufferSize  = 4 << 10 // read ahead while looking for a line's end
	peek        = 256     // how much is read at once then, when it is not yet the end
)

// The errors of a body that does not keep to the format.
var (
	ErrFraming = errors.New("aws-chunked: malformed framing")
	ErrLength  = errors.New("aws-chunked: the chunks do not add up to the decoded length")
	ErrTrailer = errors.New("aws-chunked: malformed or missing trailer")
)

// Signer checks the chain of chunk signatures (sig.Chunks).
type Signer interface {
	Chunk(sum [32]byte, signature []byte) error
	Trailer(sum [32]byte, signature []byte) error
}

// Field is one trailing header: its name in lower case, its value trimmed.
type Field struct{ Name, Value string }

// Options says which kind of body comes.
type Options struct {
	Length  int64  // of the decoded bytes
	Signer  Signer // nil: chunks are not signed
	Trailer bool   // trailing headers follow the last chunk
}

// Chunked decodes one body. Not safe for concurrent use.
type Chunked struct {
	src  io.Reader
	opts Options

	buf  []byte // read from src and not used yet: buf[r:]
	r    int
	left int64 // of the current chunk
	todo int64 // of the whole body
	open bool  // inside a chunk: its end is still to be checked
	err  error // for good: io.EOF after everything was checked

	sum       hash.Hash
	signature [64]byte
	fields    []Field
}

// NewChunked decodes src.
func NewChunked(src io.Reader, o Options) *Chunked {
	c := &Chunked{src: src, opts: o, todo: o.Length, buf: make([]byte, 0, bufferSize)}
	if o.Signer != nil {
		c.sum = sha256.New()
	}
	return c
}

// Trailer gives the trailing headers; only after io.EOF.
func (c *Chunked) Trailer() []Field { return c.fields }

// Read gives decoded bytes. io.EOF means that lengths, signatures and
// trailer were all there and right.
func (c *Chunked) Read(p []byte) (int, error) {
	for c.err == nil {
		if c.left > 0 {
			if len(p) == 0 {
				return 0, nil
			}
			n, err := c.payload(p)
			if n > 0 {
				if err != nil && c.err == nil {
					c.err = err
				}
				return n, nil
			}
			if err != nil {
				c.err = err
			}
			continue
		}
		c.err = c.nextChunk()
	}
	return 0, c.err
}

func (c *Chunked) payload(p []byte) (n int, err error) {
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	if c.r < len(c.buf) {
		n = copy(p, c.buf[c.r:])
		c.r += n
	} else {
		n, err = c.src.Read(p)
		if err == io.EOF {
			err = nil
			if int64(n) < c.left {
				err = io.ErrUnexpectedEOF
			}
		}
	}
	c.left -= int64(n)
	c.todo -= int64(n)
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	return n, err
}

// nextChunk ends the chunk before, if there is one, and reads the next
// header. After the last chunk it reads the trailer and gives io.EOF.
func (c *Chunked) nextChunk() error {
	if c.open {
		c.open = false
		line, err := c.line()
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return ErrFraming
		}
		if err := c.checkChunk(); err != nil {
			return err
		}
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	size, rest, ok := parseSize(line)
	if !ok {
		return ErrFraming
	}
	if c.opts.Signer != nil {
		rest, ok = bytes.CutPrefix(rest, []byte(";chunk-signature="))
		if !ok || len(rest) != len(c.signature) {
			return ErrFraming
		}
		copy(c.signature[:], rest)
	} else if len(rest) > 0 && rest[0] != ';' {
		return ErrFraming
	}
	if size > c.todo {
		return ErrLength
	}
	if size > 0 {
		c.left, c.open = size, true
		return nil
	}
	if c.todo > 0 {
		return ErrLength
	}
	if err := c.checkChunk(); err != nil {
		return err
	}
	if c.opts.Trailer {
		if err := c.trailer(); err != nil {
			return err
		}
	} else if line, err := c.line(); err != nil && err != io.ErrUnexpectedEOF || len(line) != 0 {
		return ErrFraming
	}
	return io.EOF
}

func (c *Chunked) checkChunk() error {
	if c.opts.Signer == nil {
		return nil
	}
	var sum [32]byte
	c.sum.Sum(sum[:0])
	c.sum.Reset()
	return c.opts.Signer.Chunk(sum, c.signature[:])
}

// parseSize reads the hexadecimal size at the head of a chunk's line.
func parseSize(line []byte) (size int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(line) && i < 16; i++ {
		var d byte
		switch b := line[i]; {
		case '0' <= b && b <= '9':
			d = b - '0'
		case 'a' <= b && b <= 'f':
			d = b - 'a' + 10
		case 'A' <= b && b <= 'F':
			d = b - 'A' + 10
		default:
			return size, line[i:], i > 0 && size >= 0
		}
		size = size<<4 | int64(d)
	}
	return size, line[i:], i > 0 && size >= 0
}

// trailer reads the lines after the last chunk. Clients differ in whether an
// empty line stands between the headers and their signature, and in whether
// one ends the whole.
func (c *Chunked) trailer() error {
	var canonical []byte
	total, signed := 0, false
	for n := 0; ; n++ {
		line, err := c.line()
		if err == io.ErrUnexpectedEOF && len(line) == 0 {
			break // the sender left the final empty line out
		}
		if err != nil {
			return err
		}
		if total += len(line); total > maxTrailer || n > maxTrailers {
			return ErrTrailer
		}
		if len(line) == 0 {
			if c.opts.Signer == nil || signed {
				break
			}
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 {
			return ErrTrailer
		}
		name, value = bytes.ToLower(bytes.TrimSpace(name)), bytes.TrimSpace(value)
		if string(name) == "x-amz-trailer-signature" {
			if c.opts.Signer == nil {
				continue
			}
			if err := c.opts.Signer.Trailer(sha256.Sum256(canonical), value); err != nil {
				return err
			}
			signed = true
			continue
		}
		if signed {
			return ErrTrailer // what follows the signature is not covered by it
		}
		c.fields = append(c.fields, Field{string(name), string(value)})
		canonical = append(append(append(append(canonical, name...), ':'), value...), '\n')
	}
	if c.opts.Signer != nil && !signed {
		return ErrTrailer
	}
	return nil
}

// line gives the next line without its end, good until the next call.
// io.ErrUnexpectedEOF comes with what there was of it.
func (c *Chunked) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(c.buf[c.r:], '\n'); i >= 0 {
			line := c.buf[c.r : c.r+i]
			c.r += i + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		if len(c.buf)-c.r > maxLine {
			return nil, ErrFraming
		}
		n := copy(c.buf[:cap(c.buf)], c.buf[c.r:])
		c.buf, c.r = c.buf[:n], 0
		m, err := c.src.Read(c.buf[n:min(n+peek, cap(c.buf))])
		c.buf = c.buf[:n+m]
		if m > 0 {
			continue
		}
		if err == io.EOF {
			return c.buf, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
}
