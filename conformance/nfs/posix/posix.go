// Package posix holds tests of what POSIX says about files, for whatever is
// mounted at the directory that SPIRULA_MOUNT names; without it they skip.
// They are compiled, and run inside the guest of conformance/nfs/vm, on the
// kernel's NFS client; on a local file system they pass too, which is what
// says that they are right. SPIRULA_MOUNT2 names a directory that is another
// file system, or the export's other bucket.
//
// They need root: users are changed for single threads.
package posix
