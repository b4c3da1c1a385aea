package body

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// chain accepts the signatures it was told, in order.
type chain struct {
	want    []string
	trailer string
}

var errSignature = errors.New("bad signature")

func (c *chain) Chunk(_ [32]byte, got []byte) error {
	if len(c.want) == 0 || c.want[0] != string(got) {
		return errSignature
	}
	c.want = c.want[1:]
	return nil
}

func (c *chain) Trailer(_ [32]byte, got []byte) error {
	if c.trailer != string(got) {
		return errSignature
	}
	return nil
}

func fake(c byte) string { return strings.Repeat(string(c), 64) }

// splitReader gives the bytes before at, then the rest.
type splitReader struct {
	data []byte
	at   int
}

func (s *splitReader) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := len(s.data)
	if s.at > 0 && s.at < n {
		n = s.at
	}
	n = copy(p, s.data[:n])
	s.data, s.at = s.data[n:], s.at-n
	return n, nil
}

var bodies = []struct {
	name, in, want string
	opts           Options
	signed         []string
	trailerSig     string
	fields         []Field
	err            error
}{
	{name: "one chunk with trailer", in: "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", want: "hello",
		opts: Options{Length: 5, Trailer: true}, fields: []Field{{"x-amz-checksum-crc32", "NhCmhg=="}}},
	{name: "several chunks, upper-case hex", in: "1\r\nh\r\nA\r\n0123456789\r\n0\r\n\r\n", want: "h0123456789",
		opts: Options{Length: 11, Trailer: true}},
	{name: "empty with trailer", in: "0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
		opts: Options{Trailer: true}, fields: []Field{{"x-amz-checksum-crc32", "AAAAAA=="}}},
	{name: "no final line", in: "0\r\nX-Amz-Checksum-Crc32: AAAAAA==\r\n",
		opts: Options{Trailer: true}, fields: []Field{{"x-amz-checksum-crc32", "AAAAAA=="}}},
	{name: "signed", in: "5;chunk-signature=" + fake('a') + "\r\nhello\r\n0;chunk-signature=" + fake('b') + "\r\n\r\n", want: "hello",
		opts: Options{Length: 5}, signed: []string{fake('a'), fake('b')}},
	{name: "signed with trailer", in: "2;chunk-signature=" + fake('a') + "\r\nhi\r\n0;chunk-signature=" + fake('b') +
		"\r\nx-amz-checksum-crc32c:AAAAAA==\n\r\nx-amz-trailer-signature:" + fake('c') + "\r\n\r\n", want: "hi",
		opts: Options{Length: 2, Trailer: true}, signed: []string{fake('a'), fake('b')}, trailerSig: fake('c'),
		fields: []Field{{"x-amz-checksum-crc32c", "AAAAAA=="}}},
	{name: "wrong chunk signature", in: "2;chunk-signature=" + fake('x') + "\r\nhi\r\n0;chunk-signature=" + fake('b') + "\r\n\r\n", want: "hi",
		opts: Options{Length: 2}, signed: []string{fake('a'), fake('b')}, err: errSignature},
	{name: "trailer not signed", in: "0;chunk-signature=" + fake('a') + "\r\na:b\r\n\r\n",
		opts: Options{Trailer: true}, signed: []string{fake('a')}, trailerSig: fake('c'), err: ErrTrailer},
	{name: "header after the trailer's signature", in: "0;chunk-signature=" + fake('a') + "\r\na:b\r\nx-amz-trailer-signature:" + fake('c') + "\r\nc:d\r\n\r\n",
		opts: Options{Trailer: true}, signed: []string{fake('a')}, trailerSig: fake('c'), err: ErrTrailer},
	{name: "signature missing", in: "2\r\nhi\r\n0\r\n\r\n", opts: Options{Length: 2}, signed: []string{fake('a')}, err: ErrFraming},
	{name: "longer than announced", in: "5\r\nhello\r\n0\r\n\r\n", opts: Options{Length: 4, Trailer: true}, err: ErrLength},
	{name: "shorter than announced", in: "5\r\nhello\r\n0\r\n\r\n", want: "hello", opts: Options{Length: 6, Trailer: true}, err: ErrLength},
	{name: "cut inside a chunk", in: "5\r\nhel", want: "hel", opts: Options{Length: 5, Trailer: true}, err: io.ErrUnexpectedEOF},
	{name: "cut before the last chunk", in: "5\r\nhello\r\n", want: "hello", opts: Options{Length: 5, Trailer: true}, err: io.ErrUnexpectedEOF},
	{name: "no end of chunk", in: "5\r\nhelloX\r\n0\r\n\r\n", want: "hello", opts: Options{Length: 5, Trailer: true}, err: ErrFraming},
	{name: "no size", in: "\r\n", opts: Options{Length: 1}, err: ErrFraming},
	{name: "size of 17 digits", in: "00000000000000001\r\nx\r\n", opts: Options{Length: 1}, err: ErrFraming},
	{name: "negative size", in: "ffffffffffffffff\r\nx\r\n", opts: Options{Length: 1}, err: ErrFraming},
	{name: "endless line", in: strings.Repeat("0", 5000), opts: Options{Length: 1}, err: ErrFraming},
	{name: "endless trailer", in: "0\r\n" + strings.Repeat("a:b\r\n", 100), opts: Options{Trailer: true}, err: ErrTrailer},
}

func TestChunkedAtEverySplit(t *testing.T) {
	for _, tc := range bodies {
		t.Run(tc.name, func(t *testing.T) {
			for at := range min(len(tc.in), 400) + 1 {
				opts := tc.opts
				if tc.signed != nil {
					opts.Signer = &chain{append([]string{}, tc.signed...), tc.trailerSig}
				}
				c := NewChunked(&splitReader{[]byte(tc.in), at}, opts)
				got, err := io.ReadAll(c)
				if !errors.Is(err, tc.err) || string(got) != tc.want {
					t.Fatalf("split at %d: %q, %v; want %q, %v", at, got, err, tc.want, tc.err)
				}
				if tc.err == nil && fmt.Sprint(c.Trailer()) != fmt.Sprint(tc.fields) {
					t.Fatalf("split at %d: trailer %v, want %v", at, c.Trailer(), tc.fields)
				}
			}
		})
	}
}

func TestChunkedByteByByteAndBig(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	var in bytes.Buffer
	for rest := want; len(rest) > 0; {
		n := min(len(rest), 77_777)
		fmt.Fprintf(&in, "%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	in.WriteString("0\r\n\r\n")
	for name, src := range map[string]io.Reader{
		"whole": bytes.NewReader(in.Bytes()), "half": iotest.HalfReader(bytes.NewReader(in.Bytes())),
		"one byte": iotest.OneByteReader(bytes.NewReader(in.Bytes())), "data with EOF": iotest.DataErrReader(bytes.NewReader(in.Bytes())),
	} {
		got, err := io.ReadAll(NewChunked(src, Options{Length: int64(len(want)), Trailer: true}))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func FuzzChunked(f *testing.F) {
	for _, tc := range bodies {
		f.Add([]byte(tc.in), tc.opts.Length, tc.signed != nil, tc.opts.Trailer)
	}
	f.Fuzz(func(t *testing.T, in []byte, length int64, signed, trailer bool) {
		o := Options{Length: max(length, 0), Trailer: trailer}
		if signed {
			o.Signer = &chain{}
		}
		c := NewChunked(bytes.NewReader(in), o)
		got, err := io.ReadAll(c)
		if len(got) > len(in) || int64(len(got)) > o.Length {
			t.Fatalf("%d bytes out of %d, length %d", len(got), len(in), o.Length)
		}
		if err == nil && int64(len(got)) != o.Length {
			t.Fatalf("ended well after %d of %d bytes", len(got), o.Length)
		}
	})
}
