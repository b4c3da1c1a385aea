package inode

import "github.com/spirula/spirula/rados/wire"

// A dentry's flags.
const (
	dentryHasInode byte = 1 << iota
	dentryUnconfirmed
)

// AppendDentry appends e's record to b. With inline, inline bytes go into the
// record (as events need it); without, they are kept apart (AppendInline).
func AppendDentry(b []byte, e *Dentry, inline bool) []byte {
	b, at := begin(b, verDentry, oldest)
	flags := byte(0)
	if e.Inode != nil {
		flags |= dentryHasInode
	}
	if e.Unconfirmed {
		flags |= dentryUnconfirmed
	}
	b = append(b, flags, byte(e.Type))
	b = le.AppendUint64(b, e.Seq)
	b = le.AppendUint64(b, uint64(e.First))
	b = le.AppendUint64(b, e.VSeq)
	b = le.AppendUint64(b, uint64(e.Ino))
	if e.Inode != nil {
		b = appendInode(b, e.Inode, inline)
	}
	return seal(b, at)
}

// dentryBox is a dentry with its inode and S3 part in one allocation: what
// most dentries of a listing are.
type dentryBox struct {
	Dentry
	in Inode
	s3 S3Part
}

// DecodeDentry is the inverse of AppendDentry. Nothing in the result shares
// memory with b.
func DecodeDentry(b []byte) (*Dentry, error) {
	d, _ := open(b, "dentry", verDentry)
	flags, typ := d.u8(), Type(d.u8())
	var e *Dentry
	var box *dentryBox
	if flags&dentryHasInode != 0 && typ == Reg {
		box = &dentryBox{}
		e = &box.Dentry
		e.Inode = &box.in
	} else {
		e = &Dentry{}
	}
	e.Type, e.Unconfirmed = typ, flags&dentryUnconfirmed != 0
	e.Seq, e.First, e.VSeq, e.Ino = d.u64(), wire.SnapID(d.u64()), d.u64(), Ino(d.u64())
	switch {
	case box != nil:
		d.inode(e.Inode, &box.s3)
	case flags&dentryHasInode != 0:
		e.Inode = &Inode{}
		d.inode(e.Inode, nil)
	}
	if d.err != nil {
		return nil, d.err
	}
	return e, nil
}

// AppendInline appends a record of inline bytes.
func AppendInline(b, data []byte) []byte {
	b, at := begin(b, verInline, oldest)
	return seal(append(b, data...), at)
}

// DecodeInline is the inverse of AppendInline; never nil without an error.
func DecodeInline(b []byte) ([]byte, error) {
	d, _ := open(b, "inline data", verInline)
	if d.err != nil {
		return nil, d.err
	}
	return []byte(d.s[d.off:d.end]), nil
}

// AppendRow appends r's record to b. Inline bytes of an inode in a row are
// always in the record: a row has no second class.
func AppendRow(b []byte, r *TableRow) []byte {
	b, at := begin(b, verRow, oldest)
	b = append(b, byte(r.Kind))
	switch r.Kind {
	case RowAt:
		b = le.AppendUint64(b, uint64(r.Parent))
		b = appendString(b, r.Token)
	case RowHere:
		b = appendBool(b, r.Inode != nil)
		if r.Inode != nil {
			b = appendInode(b, r.Inode, true)
		}
		b = le.AppendUint32(b, uint32(len(r.Links)))
		for i := range r.Links {
			b = le.AppendUint64(b, uint64(r.Links[i].Parent))
			b = appendString(b, r.Links[i].Token)
		}
	case RowRefs:
		b = le.AppendUint64(b, r.Refs)
	}
	return seal(b, at)
}

// DecodeRow is the inverse of AppendRow.
func DecodeRow(b []byte) (*TableRow, error) {
	d, _ := open(b, "inode table row", verRow)
	r := &TableRow{Kind: RowKind(d.u8())}
	switch r.Kind {
	case RowAt:
		r.Parent, r.Token = Ino(d.u64()), d.str()
	case RowHere:
		if d.bool() {
			r.Inode = &Inode{}
			d.inode(r.Inode, nil)
		}
		if n := d.count(12); n > 0 {
			r.Links = make([]Link, n)
			for i := range r.Links {
				r.Links[i] = Link{Parent: Ino(d.u64()), Token: d.str()}
			}
		}
	case RowRefs:
		r.Refs = d.u64()
	default:
		d.fail("an unknown kind of row")
	}
	if d.err != nil {
		return nil, d.err
	}
	return r, nil
}

// AppendUpload appends u's record to b.
func AppendUpload(b []byte, u *Upload) []byte {
	b, at := begin(b, verUpload, oldest)
	b = le.AppendUint64(b, u.Num)
	b = appendString(b, u.Key)
	b = appendString(b, u.ID)
	b = appendMeta(b, &u.Spec.Meta)
	b = append(b, byte(u.Spec.Algorithm))
	b = appendBool(b, u.Spec.FullObject)
	b = le.AppendUint64(b, uint64(u.Started))
	b = appendString(b, u.Owner)
	b = le.AppendUint32(b, u.UID)
	b = le.AppendUint32(b, u.GID)
	b = appendBool(b, u.Done)
	b = appendString(b, u.DoneETag)
	b = le.AppendUint64(b, uint64(u.DoneAt))
	b = appendChecksum(b, &u.DoneSum)
	b = le.AppendUint64(b, u.DoneSize)
	return seal(b, at)
}

// DecodeUpload is the inverse of AppendUpload.
func DecodeUpload(b []byte) (*Upload, error) {
	d, _ := open(b, "upload", verUpload)
	u := &Upload{Num: d.u64(), Key: d.str(), ID: d.str()}
	d.meta(&u.Spec.Meta)
	u.Spec.Algorithm, u.Spec.FullObject = ChecksumAlgorithm(d.u8()), d.bool()
	u.Started, u.Owner, u.UID, u.GID = d.time(), d.str(), d.u32(), d.u32()
	u.Done, u.DoneETag, u.DoneAt = d.bool(), d.str(), d.time()
	d.checksum(&u.DoneSum)
	u.DoneSize = d.u64()
	if d.err != nil {
		return nil, d.err
	}
	return u, nil
}

// AppendPart appends p's record to b. Inline content stays in the record.
func AppendPart(b []byte, p *Part) []byte {
	b, at := begin(b, verPart, oldest)
	b = le.AppendUint32(b, partNumber(p.Number))
	b = le.AppendUint64(b, p.Size)
	b = appendString(b, p.ETag)
	b = appendChecksum(b, &p.Checksum)
	b = le.AppendUint64(b, uint64(p.Mtime))
	b = appendContent(b, &p.Content, true)
	return seal(b, at)
}

// DecodePart is the inverse of AppendPart.
func DecodePart(b []byte) (*Part, error) {
	d, _ := open(b, "part", verPart)
	p := &Part{Number: d.partNumber(), Size: d.u64(), ETag: d.str()}
	d.checksum(&p.Checksum)
	p.Mtime = d.time()
	d.content(&p.Content, 0)
	if d.err != nil {
		return nil, d.err
	}
	return p, nil
}

// Birth is one record of a directory's birth log: what its birth number, the
// key, leads to.
type Birth struct {
	Ino   Ino
	Type  Type
	Token string
}

// AppendBirth appends r's record to b.
func AppendBirth(b []byte, r Birth) []byte {
	b, at := begin(b, verBirth, oldest)
	b = le.AppendUint64(b, uint64(r.Ino))
	b = append(b, byte(r.Type))
	return seal(appendString(b, r.Token), at)
}

// DecodeBirth is the inverse of AppendBirth.
func DecodeBirth(b []byte) (Birth, error) {
	d, _ := open(b, "birth log record", verBirth)
	r := Birth{Ino: Ino(d.u64()), Type: Type(d.u8()), Token: d.str()}
	return r, d.err
}
