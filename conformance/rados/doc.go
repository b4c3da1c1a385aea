// Package rados holds what client, monitor, OSD and store must do together,
// and judges them from outside with the programs that people use for Ceph:
// Debian's rados, ceph, python3-rados and fio, Ceph's own API tests, and our
// client.
//
// SPIRULA_CLIENTS=1 asks for the foreign programs. Most tests share one
// `spirula up`, each in pools of its own; SPIRULA_CEPH_CONF names the
// ceph.conf of a real Ceph to judge in its place, and what a real one fails is
// a wrong test. SPIRULA_RADOS_FULL=1 asks for the long forms.
package rados
