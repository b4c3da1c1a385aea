package inode

import "math"

func appendDir(b []byte, p *DirPart) []byte {
	b, at := begin(b, 1, oldest)
	b = le.AppendUint64(b, uint64(p.Parent))
	b = appendBool(b, p.Explicit)
	b = appendBool(b, p.FragTable)
	b = appendBool(b, p.BirthLog)
	b = le.AppendUint32(b, p.NextFrag)
	b = le.AppendUint32(b, p.Subdirs)
	b = le.AppendUint64(b, p.NextSeq)
	b = le.AppendUint64(b, p.Entries)
	b = AppendFrags(b, p.Frags)
	b = le.AppendUint32(b, uint32(len(p.Histories)))
	for _, h := range p.Histories {
		b = le.AppendUint64(b, h)
	}
	b = le.AppendUint64(b, p.Totals.Bytes)
	b = le.AppendUint64(b, p.Totals.Files)
	b = le.AppendUint64(b, p.Totals.Dirs)
	b = le.AppendUint64(b, uint64(p.Totals.Mtime))
	return end(b, at)
}

// AppendFrags appends a list of fragments: count, then number and first token
// of each. It is part of other records and has no checksum.
func AppendFrags(b []byte, fs []Frag) []byte {
	b = le.AppendUint32(b, uint32(len(fs)))
	for i := range fs {
		b = le.AppendUint32(b, fs[i].Num)
		b = appendString(b, fs[i].First)
	}
	return b
}

func (d *decoder) dir() *DirPart {
	_, outer := d.enter(1)
	p := &DirPart{Parent: Ino(d.u64()), Explicit: d.bool(), FragTable: d.bool(), BirthLog: d.bool(),
		NextFrag: d.u32(), Subdirs: d.u32(), NextSeq: d.u64(), Entries: d.u64()}
	if n := d.count(8); n > 0 {
		p.Frags = make([]Frag, n)
		for i := range p.Frags {
			p.Frags[i] = Frag{Num: d.u32(), First: d.str()}
		}
	}
	if n := d.count(8); n > 0 {
		p.Histories = make([]uint64, n)
		for i := range p.Histories {
			p.Histories[i] = d.u64()
		}
	}
	p.Totals = Totals{Bytes: d.u64(), Files: d.u64(), Dirs: d.u64(), Mtime: d.time()}
	d.leave(outer)
	return p
}

func appendBucket(b []byte, p *BucketPart) []byte {
	b, at := begin(b, 1, oldest)
	b = appendString(b, p.Owner)
	b = appendString(b, p.Region)
	b = le.AppendUint32(b, p.DirMode)
	b = le.AppendUint64(b, p.NextVer)
	return end(b, at)
}

func (d *decoder) bucket() *BucketPart {
	_, outer := d.enter(1)
	p := &BucketPart{Owner: d.str(), Region: d.str(), DirMode: d.u32(), NextVer: d.u64()}
	d.leave(outer)
	return p
}

func appendS3(b []byte, p *S3Part) []byte {
	b, at := begin(b, 1, oldest)
	b = appendString(b, p.ETag)
	b = le.AppendUint64(b, p.Data)
	b = appendChecksum(b, &p.Checksum)
	b = le.AppendUint32(b, uint32(len(p.Parts)))
	for i := range p.Parts {
		b = le.AppendUint32(b, partNumber(p.Parts[i].Number))
		b = le.AppendUint64(b, p.Parts[i].Size)
		b = appendBytes(b, p.Parts[i].Checksum)
	}
	b = appendMeta(b, &p.Meta)
	return end(b, at)
}

// partNumber is a part's number as it is written; S3 has 1 to 10000.
func partNumber(n int) uint32 {
	if n < 0 || n > math.MaxInt32 {
		panic("inode: a part number out of any range")
	}
	return uint32(n)
}

func (d *decoder) partNumber() int {
	n := d.u32()
	if n > math.MaxInt32 {
		d.fail("a part number out of any range")
	}
	return int(n)
}

func (d *decoder) s3(p *S3Part) {
	_, outer := d.enter(1)
	p.ETag, p.Data = d.str(), d.u64()
	d.checksum(&p.Checksum)
	if n := d.count(16); n > 0 {
		p.Parts = make([]PartSize, n)
		for i := range p.Parts {
			p.Parts[i] = PartSize{Number: d.partNumber(), Size: d.u64(), Checksum: d.bytes()}
		}
	}
	d.meta(&p.Meta)
	d.leave(outer)
}

func appendChecksum(b []byte, c *Checksum) []byte {
	b = append(b, byte(c.Algorithm))
	b = appendBool(b, c.Composite)
	return appendBytes(b, c.Value)
}

func (d *decoder) checksum(c *Checksum) {
	c.Algorithm, c.Composite, c.Value = ChecksumAlgorithm(d.u8()), d.bool(), d.bytes()
}

func appendMeta(b []byte, m *Meta) []byte {
	b, at := begin(b, 1, oldest)
	for _, s := range [...]string{m.ContentType, m.ContentEncoding, m.ContentDisposition, m.ContentLanguage,
		m.CacheControl, m.Expires, m.StorageClass, m.WebsiteRedirect, m.Owner} {
		b = appendString(b, s)
	}
	b = appendKVs(b, m.User)
	return end(b, at)
}

func (d *decoder) meta(m *Meta) {
	_, outer := d.enter(1)
	for _, s := range [...]*string{&m.ContentType, &m.ContentEncoding, &m.ContentDisposition, &m.ContentLanguage,
		&m.CacheControl, &m.Expires, &m.StorageClass, &m.WebsiteRedirect, &m.Owner} {
		*s = d.str()
	}
	m.User = d.kvs()
	d.leave(outer)
}
