package blkid

import (
	"encoding/binary"
	"fmt"
)

// probeUFS looks for the superblock of BSD's fast file system at its four places, in either order of bytes.
func probeUFS(p *probe, _ *magic, _ []byte) bool {
	for _, kb := range [...]int64{0, 8, 64, 256} {
		b := p.buf(kb<<10, 1380)
		if b == nil {
			return false
		}
		for _, order := range [...]binary.ByteOrder{be, le} {
			magic := order.Uint32(b[1372:])
			switch magic {
			case 0x19540119:
				p.version("2")
				p.label(b[680:712])
			case 0x00011954, 0x00195612, 0x00095014, 0x00612195, 0x05231994:
				p.version("1")
			default:
				continue
			}
			p.uuidf(b[144:152], "%08x%08x", order.Uint32(b[144:]), order.Uint32(b[148:]))
			p.blockSize(uint64(order.Uint32(b[52:])))
			return true
		}
	}
	return false
}

// sysvMagics are in either order of bytes, at the places where the superblock of a floppy or disk may be.
var sysvMagics = []magic{
	{text: "\x20\x7e\x18\xfd", kb: 0, off: 1016}, {text: "\xfd\x18\x7e\x20", kb: 0, off: 1016},
	{text: "\x20\x7e\x18\xfd", kb: 9, off: 1016}, {text: "\xfd\x18\x7e\x20", kb: 9, off: 1016},
	{text: "\x20\x7e\x18\xfd", kb: 15, off: 1016}, {text: "\xfd\x18\x7e\x20", kb: 15, off: 1016},
	{text: "\x20\x7e\x18\xfd", kb: 18, off: 1016}, {text: "\xfd\x18\x7e\x20", kb: 18, off: 1016},
}

func probeSysV(p *probe, _ *magic, b []byte) bool {
	p.label(b[512+440 : 512+446])
	return true
}

func probeXenix(p *probe, _ *magic, b []byte) bool {
	p.label(b[632:638])
	return true
}

// probeHPFS checks the spare superblock; the name and serial number are in the boot sector.
func probeHPFS(p *probe, _ *magic, b []byte) bool {
	version := b[8]
	if string(p.buf(0x2200, 4)) != "\x49\x18\x91\xf9" {
		return false
	}
	boot := p.buf(0, 512)
	if boot == nil {
		return false
	}
	if string(boot[510:]) == "\x55\xaa" && string(boot[54:58]) == "HPFS" && boot[38] == 0x28 {
		p.label(boot[43:54])
		p.serial(boot[39:43])
	}
	p.number("VERSION", uint64(version))
	p.blockSize(512)
	return true
}

// minixMagics are those of versions 1, 2 (16 bytes in) and 3 (24), in either order of bytes.
var minixMagics = []magic{
	{text: "\x7f\x13", kb: 1, off: 16}, {text: "\x8f\x13", kb: 1, off: 16}, {text: "\x13\x7f", kb: 1, off: 16}, {text: "\x13\x8f", kb: 1, off: 16},
	{text: "\x68\x24", kb: 1, off: 16}, {text: "\x78\x24", kb: 1, off: 16}, {text: "\x24\x68", kb: 1, off: 16}, {text: "\x24\x78", kb: 1, off: 16},
	{text: "\x5a\x4d", kb: 1, off: 24}, {text: "\x4d\x5a", kb: 1, off: 24},
}

// probeMinix checks what fsck.minix does, since two bytes are little to go by.
func probeMinix(p *probe, m *magic, b []byte) bool {
	var order binary.ByteOrder = le
	if c := m.text[0]; c == 0x13 || c == 0x24 || c == 0x4d {
		order = be
	}
	version, size := 3, uint16(1024)
	if m.off == 16 {
		version = 1
		if order.Uint16(b[16:])&0xff00 == 0x2400 {
			version = 2
		}
	}
	word := func(at int) uint64 { return uint64(order.Uint16(b[at:])) }
	inodes, zones, maps := word(0), uint64(order.Uint32(b[20:])), 4
	switch version {
	case 1:
		zones = word(2)
		fallthrough
	case 2:
		if state := word(18); state&^3 != 0 {
			return false
		}
	case 3:
		inodes, maps, size = uint64(order.Uint32(b)), 6, order.Uint16(b[28:])
	}
	imap, zmap, first, log := word(maps), word(maps+2), word(maps+4), word(maps+6)
	if log != 0 || inodes == 0 || inodes == 1<<32-1 || imap<<13 < inodes+1 || first > zones || zmap<<13 < zones-first+1 ||
		string(b[0x38:0x3a]) == "\x53\xef" { // ext2 may look like it
		return false
	}
	p.number("VERSION", uint64(version))
	p.blockSize(uint64(size))
	return true
}

func probeVxFS(p *probe, m *magic, b []byte) bool {
	var order binary.ByteOrder = le
	if m.text[0] == 0xa5 {
		order = be
	}
	p.number("VERSION", uint64(order.Uint32(b[4:])))
	p.blockSize(uint64(order.Uint32(b[32:])))
	return true
}

func probeNetware(p *probe, _ *magic, b []byte) bool {
	p.uuid(b[348:])
	p.version(fmt.Sprintf("%d.%02d", le.Uint16(b[8:]), le.Uint16(b[10:])))
	return true
}

// probeBeFS reads the superblock of BeOS and Haiku; the UUID is an attribute of the root directory, kept in its inode (eight
// bytes always fit there; the tree of larger ones, where libblkid goes on looking, is left alone). Format:
// Practical File System Design, Giampaolo.
func probeBeFS(p *probe, m *magic, b []byte) bool {
	var order binary.ByteOrder = le
	version := "little-endian"
	b = b[m.off-32:]
	if m.text == "BFS1" {
		order, version = be, "big-endian"
	}
	word := func(b []byte, at int) uint32 { return order.Uint32(b[at:]) }
	shift, agShift := word(b, 44), word(b, 76)
	if word(b, 68) != 0xdd121031 || word(b, 112) != 0x15b6830e || word(b, 36) != 0x42494745 ||
		shift < 10 || shift > 13 || word(b, 40) != 1<<shift || agShift > 31 {
		return false
	}
	root := p.buf(int64((uint64(word(b, 116))<<agShift+uint64(order.Uint16(b[120:])))<<shift), int(order.Uint16(b[122:]))<<shift)
	if root == nil || word(root, 0) != 0x3bbe0ad9 {
		return false
	}
	var id []byte
	attrs := root[232:]
	attrs = attrs[:min(len(attrs), int(word(root, 64)))]
	for len(attrs) >= 8 {
		kind, name, data := word(attrs, 0), int(order.Uint16(attrs[4:])), int(order.Uint16(attrs[6:]))
		if size := 8 + name + 3 + data + 1; size > len(attrs) || kind == 0 && name == 0 && data == 0 {
			break
		} else if kind == 0x554c4c47 && data == 8 && string(attrs[8:8+name]) == "be:volume_id" {
			id = attrs[8+name+3:][:8]
			break
		} else {
			attrs = attrs[size:]
		}
	}
	if b[0] != 0 {
		p.label(b[:32])
	}
	p.version(version)
	if id != nil {
		p.uuidf(id, "%016x", order.Uint64(id))
	}
	p.blockSize(1 << shift)
	return true
}
