// Package nfs holds the suites that judge the NFS gateway with the clients that
// people use: libnfs's tools, and the Linux kernel in a guest
// (conformance/nfs/vm). They run a spirula of their own as a child process.
//
// The guest runs testdata/guest: main.sh mounts the export and runs each of
// cases/*.sh, in the order of their names, as a test of its own.
package nfs
