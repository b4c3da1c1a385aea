package s3

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

const (
	maxDeletes    = 1000
	maxDeleteXML  = 8 << 20 // bytes: 1000 keys, every byte escaped
	deletesAtOnce = 32      // so that one journal commit takes many of them
)

func (rq *request) deleteObject() error {
	cond, err := rq.deleting()
	if err != nil {
		return err
	}
	if err := rq.remove(rq.key, cond); err != nil {
		return err
	}
	return rq.noContent()
}

// remove deletes a key; one that isn't there is fine, unless something was
// demanded of it.
func (rq *request) remove(key string, cond mds.Conditions) error {
	err := rq.g.o.FS.DeleteObject(rq.ctx(), rq.cred(), rq.b.Ino, key, cond)
	if wire.ErrnoOf(err) == wire.ENOENT && !errors.Is(err, mds.ErrNoBucket) && cond == (mds.Conditions{}) {
		return nil
	}
	return err
}

type deleteXML struct {
	Quiet   bool
	Objects []struct {
		Key              *string
		VersionID        string `xml:"VersionId"`
		ETag             string
		LastModifiedTime string
		Size             *uint64
	} `xml:"Object"`
}

// deleteObjects removes up to 1000 keys, several at a time, and tells of
// each in the order in which they were given.
func (rq *request) deleteObjects() error {
	doc, err := rq.readDocument(maxDeleteXML, true)
	if err != nil {
		return err
	}
	var d deleteXML
	if err := decodeXML(doc, "Delete", &d); err != nil {
		return err
	}
	n := len(d.Objects)
	if n == 0 || n > maxDeletes {
		return fault("MalformedXML")
	}
	for i := range d.Objects {
		if d.Objects[i].Key == nil {
			return fault("MalformedXML")
		}
	}
	results := make([]error, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, deletesAtOnce) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				results[i] = rq.deleteOne(&d, i)
			}
		})
	}
	wg.Wait()
	x := newXML()
	defer x.free()
	x.root("DeleteResult")
	for i, err := range results {
		o := &d.Objects[i]
		if err == nil {
			if !d.Quiet {
				x.open("Deleted")
				x.elem("Key", *o.Key)
				x.optional("VersionId", o.VersionID)
				x.close("Deleted")
			}
			continue
		}
		e := toAPI(err)
		rq.logError(e)
		x.open("Error")
		x.elem("Key", *o.Key)
		x.optional("VersionId", o.VersionID)
		x.elem("Code", e.code)
		x.elem("Message", e.message)
		x.close("Error")
	}
	x.close("DeleteResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}

func (rq *request) deleteOne(d *deleteXML, i int) error {
	o := &d.Objects[i]
	switch {
	case *o.Key == "":
		return faultf("MalformedXML", "An empty key cannot be deleted")
	case len(*o.Key) > mds.MaxKey:
		return fault("KeyTooLongError")
	case !utf8.ValidString(*o.Key):
		return faultf("InvalidURI", "The key is not valid UTF-8.")
	case o.VersionID != "" && o.VersionID != "null":
		return fault("NoSuchVersion")
	}
	c := mds.Conditions{IfSize: o.Size}
	if o.ETag != "" {
		c.IfMatch = bareETag(o.ETag)
	}
	if v := strings.TrimSpace(o.LastModifiedTime); v != "" {
		t, err := conditionTime(v)
		if err != nil {
			return fault("MalformedXML")
		}
		c.IfModified = t
	}
	return rq.remove(*o.Key, c)
}
