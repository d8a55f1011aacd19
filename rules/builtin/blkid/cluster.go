package blkid

import (
	"bytes"
	"fmt"
	"hash/crc32"
)

// Formats of storage that several machines share, or that a manager puts together.

// probeDRBD finds the metadata of version 8 or 9 in the last 4 KiB; its UUID is a number.
func probeDRBD(p *probe, _ *magic, _ []byte) bool {
	b := p.buf(p.size-4096, 4096)
	if b == nil {
		return false
	}
	id := b[40:48]
	switch be.Uint32(b[60:]) {
	case 0x8374026b, 0x8374026c:
		p.uuidf(id, "%x", be.Uint64(id))
		p.version("v08")
	case 0x8374026d:
		id = b[48:56]
		p.uuidf(id, "%x", be.Uint64(id))
		p.version("v09")
	default:
		return false
	}
	return true
}

func probeDRBDManage(p *probe, _ *magic, b []byte) bool {
	for _, c := range b[11:43] {
		if !isHex(c) {
			return false
		}
	}
	if b[43] != '\n' {
		return false
	}
	p.uuidText(b[11:43])
	persistent := p.buf(0x1000, 8)
	if persistent == nil {
		return false
	}
	if string(persistent[:4]) == "\x1a\xdb\x98\xa2" {
		p.version(fmt.Sprint(int32(be.Uint32(persistent[4:]))))
	}
	return true
}

func probeDRBDProxy(p *probe, _ *magic, b []byte) bool {
	p.uuid(b[16:])
	p.version(fmt.Sprintf("v%d", le.Uint64(b[8:])))
	return true
}

// castagnoli is CRC-32C.
func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

const stratisMagic = "!Stra0tis\x86\xff\x02^\x41rh"

// probeStratis reads the first of two copies that is whole.
func probeStratis(p *probe, _ *magic, _ []byte) bool {
	all := p.buf(0, 16*512)
	if all == nil {
		return false
	}
	b := all[512:1024]
	if castagnoli(b[4:]) != le.Uint32(b) {
		if b = all[9*512 : 10*512]; castagnoli(b[4:]) != le.Uint32(b) {
			return false
		}
	}
	hyphens := func(b []byte) []byte {
		return bytes.Join([][]byte{b[:8], b[8:12], b[12:16], b[16:20], b[20:32]}, []byte("-"))
	}
	p.uuidText(hyphens(b[64:96]))
	p.set("POOL_UUID", cString(hyphens(b[32:64])))
	p.number("BLOCKDEV_SECTORS", le.Uint64(b[20:]))
	p.number("BLOCKDEV_INITTIME", le.Uint64(b[120:]))
	return true
}

func probeVDO(p *probe, _ *magic, b []byte) bool {
	p.uuid(b[40:])
	return true
}

func probeMpool(p *probe, _ *magic, b []byte) bool {
	if castagnoli(b[:62]) != le.Uint32(b[62:]) {
		return false
	}
	p.label(b[8:40])
	p.uuid(b[40:])
	return true
}

func probeGFS(p *probe, _ *magic, b []byte) bool {
	if be.Uint32(b[24:]) != 1309 || be.Uint32(b[28:]) != 1401 {
		return false
	}
	p.gfsNames(b)
	return true
}

func probeGFS2(p *probe, _ *magic, b []byte) bool {
	if be.Uint32(b[24:])/100 != 18 || be.Uint32(b[28:])/100 != 19 {
		return false
	}
	p.gfsNames(b)
	p.version("1")
	p.blockSize(uint64(be.Uint32(b[36:])))
	return true
}

func (p *probe) gfsNames(b []byte) {
	if b[160] != 0 {
		p.label(b[160:224])
	}
	p.uuid(b[256:])
}

// probeOCFS reads the header of the first version and the label in the sector behind it.
func probeOCFS(p *probe, _ *magic, b []byte) bool {
	major := le.Uint32(b[4:])
	switch {
	case major == 1:
		p.set("SEC_TYPE", "ocfs1")
	case major >= 9:
		p.set("SEC_TYPE", "ntocfs")
	}
	l := b[512:]
	p.label(l[48:112][:min(64, le.Uint16(l[112:]))])
	p.text("MOUNT", cString(b[136:264][:min(128, le.Uint16(b[264:]))]))
	p.uuid(l[114:])
	p.dotted(uint64(major), uint64(le.Uint32(b)))
	return true
}

func probeOCFS2(p *probe, _ *magic, b []byte) bool {
	p.label(b[272:336])
	p.uuid(b[336:])
	p.dotted(uint64(le.Uint16(b[192:])), uint64(le.Uint16(b[194:])))
	if bits := le.Uint32(b[248:]); bits < 32 {
		p.blockSize(1 << bits)
	}
	return true
}

func probeOracleASM(p *probe, _ *magic, b []byte) bool {
	p.label(b[40:64])
	return true
}
