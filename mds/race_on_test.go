//go:build race

package mds

const raceEnabled = true
