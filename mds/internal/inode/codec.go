package inode

import "github.com/spirula/spirula/rados/wire"

// The struct versions in use. All have 1 as their oldest reader.
const (
	verInode   = 1
	verDentry  = 1
	verRow     = 1
	verUpload  = 1
	verPart    = 1
	verInline  = 1
	verContent = 1
	verBirth   = 1
	oldest     = 1
)

// Which optional parts an inode's body has.
const (
	hasDir byte = 1 << iota
	hasBucket
	hasS3
	hasRare // the fields that most inodes have as zero
)

// AppendInode appends in's record to b. With inline, inline bytes go into the
// record (as events need it); without, only their kind does.
func AppendInode(b []byte, in *Inode, inline bool) []byte {
	at := len(b)
	return seal(appendInode(b, in, inline), at)
}

// DecodeInode is the inverse of AppendInode. Nothing in the result shares
// memory with b.
func DecodeInode(b []byte) (*Inode, error) {
	d, _ := open(b, "inode", verInode)
	d.off, d.end = 0, len(d.s) // open has checked the frame; inode enters it itself
	in := &Inode{}
	d.inode(in, nil)
	if d.err != nil {
		return nil, d.err
	}
	return in, nil
}

func appendInode(b []byte, in *Inode, inline bool) []byte {
	b, at := begin(b, verInode, oldest)
	has := byte(0)
	if in.Dir != nil {
		has |= hasDir
	}
	if in.Bucket != nil {
		has |= hasBucket
	}
	if in.S3 != nil {
		has |= hasS3
	}
	if in.rare() {
		has |= hasRare
	}
	b = append(b, has, byte(in.Type))
	b = le.AppendUint64(b, uint64(in.Ino))
	for _, v := range [...]uint32{in.Gen, in.Mode, in.UID, in.GID, in.Nlink} {
		b = le.AppendUint32(b, v)
	}
	for _, v := range [...]uint64{in.Size, uint64(in.Atime), uint64(in.Mtime), uint64(in.Ctime),
		uint64(in.Btime), in.Change, in.Data} {
		b = le.AppendUint64(b, v)
	}
	b = appendContent(b, &in.Content, inline)
	if has&hasRare != 0 {
		b = appendRare(b, in)
	}
	if in.Dir != nil {
		b = appendDir(b, in.Dir)
	}
	if in.Bucket != nil {
		b = appendBucket(b, in.Bucket)
	}
	if in.S3 != nil {
		b = appendS3(b, in.S3)
	}
	return end(b, at)
}

func (in *Inode) rare() bool {
	return in.Major|in.Minor != 0 || in.Verifier != [8]byte{} || in.VSeq|in.OpenEpoch|in.Truncating != 0 ||
		in.Target != "" || len(in.Snaps) != 0 || len(in.Xattrs) != 0
}

func appendRare(b []byte, in *Inode) []byte {
	b, at := begin(b, 1, oldest)
	b = le.AppendUint32(b, in.Major)
	b = le.AppendUint32(b, in.Minor)
	b = append(b, in.Verifier[:]...)
	b = le.AppendUint64(b, in.VSeq)
	b = le.AppendUint64(b, in.OpenEpoch)
	b = le.AppendUint64(b, in.Truncating)
	b = appendString(b, in.Target)
	b = appendSnaps(b, in.Snaps)
	b = appendKVs(b, in.Xattrs)
	return end(b, at)
}

// inode decodes a nested inode into in; s3, where given, is used for its S3
// part instead of a new one.
func (d *decoder) inode(in *Inode, s3 *S3Part) {
	_, outer := d.enter(verInode)
	has := d.u8()
	in.Type = Type(d.u8())
	in.Ino = Ino(d.u64())
	in.Gen, in.Mode, in.UID, in.GID, in.Nlink = d.u32(), d.u32(), d.u32(), d.u32(), d.u32()
	in.Size = d.u64()
	in.Atime, in.Mtime, in.Ctime, in.Btime = d.time(), d.time(), d.time(), d.time()
	in.Change, in.Data = d.u64(), d.u64()
	d.content(&in.Content, 0)
	if has&hasRare != 0 {
		d.rare(in)
	}
	if has&hasDir != 0 {
		in.Dir = d.dir()
	}
	if has&hasBucket != 0 {
		in.Bucket = d.bucket()
	}
	if has&hasS3 != 0 {
		if s3 == nil {
			s3 = &S3Part{}
		}
		in.S3 = s3
		d.s3(s3)
	}
	d.leave(outer)
}

func (d *decoder) rare(in *Inode) {
	_, outer := d.enter(1)
	in.Major, in.Minor = d.u32(), d.u32()
	if d.need(8) {
		copy(in.Verifier[:], d.s[d.off:])
		d.off += 8
	}
	in.VSeq, in.OpenEpoch, in.Truncating = d.u64(), d.u64(), d.u64()
	in.Target = d.str()
	in.Snaps = d.snaps()
	in.Xattrs = d.kvs()
	d.leave(outer)
}

// AppendContent appends a record of c alone; DecodeContent reads it.
func AppendContent(b []byte, c *Content, inline bool) []byte {
	at := len(b)
	return seal(appendContent(b, c, inline), at)
}

// DecodeContent is the inverse of AppendContent.
func DecodeContent(b []byte) (*Content, error) {
	d, _ := open(b, "content", verContent)
	d.off, d.end = 0, len(d.s)
	c := &Content{}
	d.content(c, 0)
	if d.err != nil {
		return nil, d.err
	}
	return c, nil
}

func appendContent(b []byte, c *Content, inline bool) []byte {
	b, at := begin(b, verContent, oldest)
	b = append(b, byte(c.Kind))
	switch c.Kind {
	case Inline:
		// nil bytes are bytes not at hand, which is not the same as none.
		b = appendBool(b, inline && c.Inline != nil)
		if inline && c.Inline != nil {
			b = appendBytes(b, c.Inline)
		}
	case Plain, Joined, Overlay:
		b = le.AppendUint64(b, c.Stream)
		b = le.AppendUint64(b, uint64(c.Snap))
		b = appendBool(b, c.Sealed)
	}
	switch c.Kind {
	case Joined:
		b = le.AppendUint32(b, c.NumRow)
		b = le.AppendUint32(b, uint32(len(c.Rows)))
		for i := range c.Rows {
			b = AppendJoinRow(b, c.Rows[i])
		}
	case Overlay:
		b = le.AppendUint64(b, c.BaseLimit)
		b = appendBool(b, c.Base != nil)
		if c.Base != nil {
			b = appendContent(b, c.Base, inline)
		}
	}
	return end(b, at)
}

func (d *decoder) content(c *Content, depth int) {
	if depth > maxDepth {
		d.fail("overlays nested too deep")
		return
	}
	_, outer := d.enter(verContent)
	c.Kind = ContentKind(d.u8())
	switch c.Kind {
	case Empty:
	case Inline:
		if d.bool() {
			// Told apart from bytes that are kept elsewhere: nil.
			c.Inline = []byte(d.str())
		}
	case Plain, Joined, Overlay:
		c.Stream, c.Snap, c.Sealed = d.u64(), wire.SnapID(d.u64()), d.bool()
	default:
		d.fail("an unknown kind of content")
	}
	switch c.Kind {
	case Joined:
		c.NumRow = d.u32()
		if n := d.count(JoinRowLen); n > 0 {
			c.Rows = make([]Row, n)
			for i := range c.Rows {
				c.Rows[i] = Row{End: d.u64(), Stream: d.u64(), Snap: wire.SnapID(d.u64()), Start: d.u64()}
			}
		}
	case Overlay:
		c.BaseLimit = d.u64()
		if d.bool() {
			c.Base = &Content{}
			d.content(c.Base, depth+1)
		}
	}
	d.leave(outer)
}

// JoinRowLen is the length of an encoded Row, in x.SID objects too.
const JoinRowLen = 32

// AppendJoinRow appends r as four u64: End, Stream, Snap, Start.
func AppendJoinRow(b []byte, r Row) []byte {
	b = le.AppendUint64(b, r.End)
	b = le.AppendUint64(b, r.Stream)
	b = le.AppendUint64(b, uint64(r.Snap))
	return le.AppendUint64(b, r.Start)
}

// DecodeJoinRow reads the row at the start of b, which has at least
// JoinRowLen bytes.
func DecodeJoinRow(b []byte) Row {
	return Row{End: le.Uint64(b), Stream: le.Uint64(b[8:]), Snap: wire.SnapID(le.Uint64(b[16:])), Start: le.Uint64(b[24:])}
}
