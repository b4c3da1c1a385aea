package cls

import "github.com/spirula/spirula/rados/wire"

// The class rbd is Ceph's for block images, of which there are none here. It
// has what clients ask to learn whom they talk to.

// rbdFeatures are all the features of images that there are (Ceph's value).
const rbdFeatures = 1<<12 - 1

func rbdAllFeatures(_ object, _ []byte) ([]byte, int32) {
	var e wire.Encoder
	e.U64(rbdFeatures)
	return e.B, 0
}

// rbdGetID gives the image's id, which is the object's data: a string.
func rbdGetID(o object, _ []byte) ([]byte, int32) {
	p, e := o.read(0, 0)
	switch {
	case e != 0:
		return nil, fail(e)
	case len(p) == 0:
		return nil, fail(wire.ENOENT)
	}
	d := wire.NewDecoder(p)
	id := d.Str()
	if d.Err() != nil {
		return nil, fail(wire.EIO)
	}
	var out wire.Encoder
	out.Str(id)
	return out.B, 0
}

var rbdMethods = []Method{
	{"get_all_features", true, false, rbdAllFeatures},
	{"get_id", true, false, rbdGetID},
}
