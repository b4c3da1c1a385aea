// Package rados is the client of a RADOS cluster.
package rados
