package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A frame file holds a stream of bytes so that after a crash its end is found
// exactly, and rot isn't mistaken for an end:
//
//	file    header, frames, zeros up to the reserved size
//	header  "SPKVLOG\x00", version u32, CRC-32C of these 12 bytes
//	frame   magic u32, length u32, offset u64, synced u64, crc u32, payload
//
// Little-endian. offset is the frame's own place in the file. synced is an
// offset below which all was synced when the frame was written. crc is the
// CRC-32C of the 24 bytes before it and the payload. The first frame that
// isn't good ends the stream, unless a good frame further on has synced beyond
// that place: then acknowledged bytes are damaged.
const (
	frameMagic   = 0x4d524653
	fileHeader   = 16
	frameHeader  = 28
	frameVersion = 1
	// maxFrameFile bounds what is read into memory at open.
	maxFrameFile = 512 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errRot says that bytes that had been synced are damaged.
var errRot = errors.New("synced frames are damaged")

// errVersion says that the file is of a later version than this program's.
var errVersion = errors.New("unknown version of frame file")

// putFileHeader fills the 16 bytes at the start of a frame file.
func putFileHeader(b []byte) {
	copy(b, "SPKVLOG\x00")
	binary.LittleEndian.PutUint32(b[8:], frameVersion)
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[:12], castagnoli))
}

// putFrameHeader fills the first 28 bytes of b, whose rest is the payload.
func putFrameHeader(b []byte, offset, synced int64) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], frameMagic)
	le.PutUint32(b[4:], uint32(len(b)-frameHeader))
	le.PutUint64(b[8:], uint64(offset))
	le.PutUint64(b[16:], uint64(synced))
	le.PutUint32(b[24:], frameSum(b))
}

func frameSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:24], castagnoli), castagnoli, b[frameHeader:])
}

// frameAt checks the frame at offset and gives its payload and synced mark;
// nil if there is none.
func frameAt(file []byte, offset int) (payload []byte, synced uint64) {
	if len(file)-offset < frameHeader {
		return nil, 0
	}
	b, le := file[offset:], binary.LittleEndian
	n := int64(le.Uint32(b[4:]))
	synced = le.Uint64(b[16:])
	if le.Uint32(b) != frameMagic || n == 0 || n > int64(len(b)-frameHeader) ||
		le.Uint64(b[8:]) != uint64(offset) || synced > uint64(offset) {
		return nil, 0
	}
	b = b[:frameHeader+n]
	if frameSum(b) != le.Uint32(b[24:]) {
		return nil, 0
	}
	return b[frameHeader:], synced
}

// decodeFrames gives the stream that a frame file holds, in memory of its own.
func decodeFrames(file []byte) ([]byte, error) {
	var want [fileHeader]byte
	putFileHeader(want[:])
	var out []byte
	end := 0
	if len(file) >= fileHeader && bytes.Equal(file[:fileHeader], want[:]) {
		for end = fileHeader; ; {
			payload, _ := frameAt(file, end)
			if payload == nil {
				break
			}
			out = append(out, payload...)
			end += frameHeader + len(payload)
		}
	} else if len(file) >= fileHeader && string(file[:8]) == "SPKVLOG\x00" &&
		crc32.Checksum(file[:12], castagnoli) == binary.LittleEndian.Uint32(file[12:]) {
		return nil, errVersion
	}
	if syncedBeyond(file, end) {
		return nil, errRot
	}
	return out, nil
}

// syncedBeyond looks behind the end of the good frames for one that knows that
// more had been synced.
func syncedBeyond(file []byte, end int) bool {
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], frameMagic)
	for at := end + 1; at < len(file); at++ {
		i := bytes.Index(file[at:], magic[:])
		if i < 0 {
			return false
		}
		at += i
		if payload, synced := frameAt(file, at); payload != nil && synced > uint64(end) {
			return true
		}
	}
	return false
}
