// Package filer keeps the bytes of files in the objects of the data pool.
package filer
