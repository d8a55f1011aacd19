package blkid

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const mdMagic = 0xa92b4efc

// probeMD finds a member of a Linux RAID by its superblock: 0.90 near the end, 1.0 at the end, 1.1 at the start, 1.2
// at 4 KiB. Kernel: include/uapi/linux/raid/md_p.h.
func probeMD(p *probe, _ *magic, _ []byte) bool {
	if p.size > 0x10000 {
		if p.md0(p.size&^0xffff - 0x10000) {
			return true
		}
		if p.md1(p.size&^0xfff-0x2000, "1.0") {
			return true
		}
	}
	return p.md1(0, "1.1") || p.md1(0x1000, "1.2")
}

func (p *probe) md0(at int64) bool {
	b := p.buf(at, 64)
	if b == nil {
		return false
	}
	var order binary.ByteOrder = le
	if be.Uint32(b) == mdMagic {
		order = be
	} else if le.Uint32(b) != mdMagic {
		return false
	}
	word := func(i int) uint32 { return order.Uint32(b[4*i:]) }
	var uuid [16]byte
	be.PutUint32(uuid[0:], word(5))
	if word(2) >= 90 {
		be.PutUint32(uuid[4:], word(13))
		be.PutUint32(uuid[8:], word(14))
		be.PutUint32(uuid[12:], word(15))
	}
	size := int64(word(8)) << 10
	if p.size < size+0x10000 || at < size {
		return false
	}
	// Of a disk whose last partition is the member, only that partition is one.
	if p.whole() && p.covered(at-size, size+0x10000) {
		return false
	}
	p.version(fmt.Sprintf("%d.%d.%d", word(1), word(2), word(3)))
	p.uuid(uuid[:])
	return true
}

func (p *probe) md1(at int64, version string) bool {
	b := p.buf(at, 256)
	if b == nil || le.Uint32(b) != mdMagic || le.Uint32(b[4:]) != 1 || le.Uint64(b[144:]) != uint64(at)>>9 {
		return false
	}
	p.uuid(b[16:])
	p.uuidAs("UUID_SUB", b[168:])
	p.label(b[32:64])
	p.version(version)
	return true
}

// probeDDF finds the header of SNIA's format in the last sector, or 256 sectors before it.
func probeDDF(p *probe, _ *magic, _ []byte) bool {
	if p.size < 0x30000 {
		return false
	}
	for _, back := range [...]int64{1, 257} {
		b := p.buf((p.size/512-back)*512, 512)
		if b == nil {
			return false
		}
		var order binary.ByteOrder = be
		if le.Uint32(b) == 0xde11de11 {
			order = le
		} else if be.Uint32(b) != 0xde11de11 {
			continue
		}
		if lba := order.Uint64(b[96:]); lba > 0 {
			if lba > uint64(p.size)>>9 {
				return false
			}
			if c := p.buf(int64(lba)<<9, 4); c == nil || string(c) != string(b[:4]) {
				return false
			}
		}
		p.uuidText(b[8:32])
		p.version(cString(b[32:40]))
		return true
	}
	return false
}

// probeLVM2 finds the label of a physical volume, with its checksum.
func probeLVM2(p *probe, m *magic, _ []byte) bool {
	sector := uint64(m.kb) * 2
	b := p.buf(int64(m.kb)<<10, 1024)
	if b == nil {
		return false
	}
	switch {
	case string(b[:8]) == "LABELONE":
		b = b[:512]
	case string(b[512:520]) == "LABELONE":
		b = b[512:]
		sector++
	default:
		return false
	}
	if le.Uint64(b[8:]) != sector || ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b[20:]) != le.Uint32(b[16:]) {
		return false
	}
	p.uuidf(b[32:64], "%s", lvmUUID(b[32:64]))
	p.version(m.text)
	p.wiped = true
	return true
}

// lvmUUID is 32 characters in groups of 6, 4, 4, 4, 4, 4, 6.
func lvmUUID(b []byte) string {
	s := string(b)
	return cString([]byte(s[:6] + "-" + s[6:10] + "-" + s[10:14] + "-" + s[14:18] + "-" + s[18:22] + "-" + s[22:26] + "-" + s[26:32]))
}

func probeLVM1(p *probe, _ *magic, b []byte) bool {
	if v := le.Uint16(b[2:]); v != 1 && v != 2 {
		return false
	}
	p.uuidf(b[44:172], "%s", lvmUUID(b[44:76]))
	return true
}

func probeVerity(p *probe, _ *magic, b []byte) bool {
	if le.Uint32(b[8:]) != 1 {
		return false
	}
	p.uuid(b[16:])
	p.version("1")
	return true
}

func probeIntegrity(p *probe, _ *magic, b []byte) bool {
	if b[8] == 0 {
		return false
	}
	p.number("VERSION", uint64(b[8]))
	return true
}

// probeLUKS finds the header of either version, or the second copy of version 2's. Format: LUKS2 On-Disk Format.
func probeLUKS(p *probe, _ *magic, _ []byte) bool {
	tell := func(b []byte) bool {
		version := be.Uint16(b[6:])
		p.number("VERSION", uint64(version))
		switch version {
		case 1, 2:
			p.uuidText(b[168:208])
		}
		if version == 2 {
			p.label(b[24:72])
			p.id("SUBSYSTEM", b[208:256])
		}
		return true
	}
	b := p.buf(0, 512)
	if b == nil {
		return false
	}
	if string(b[:6]) == "LUKS\xba\xbe" {
		return tell(b)
	}
	for _, at := range [...]int64{0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000} {
		if b = p.buf(at, 512); b == nil {
			return false
		}
		if string(b[:6]) == "SKUL\xba\xbe" {
			return tell(b)
		}
	}
	return false
}

// The magics of swap end at the end of a page of 4, 8, 16, 32 or 64 KiB.
var swapMagics = []magic{
	{text: "SWAP-SPACE", off: 0xff6}, {text: "SWAPSPACE2", off: 0xff6},
	{text: "SWAP-SPACE", off: 0x1ff6}, {text: "SWAPSPACE2", off: 0x1ff6},
	{text: "SWAP-SPACE", off: 0x3ff6}, {text: "SWAPSPACE2", off: 0x3ff6},
	{text: "SWAP-SPACE", off: 0x7ff6}, {text: "SWAPSPACE2", off: 0x7ff6},
	{text: "SWAP-SPACE", off: 0xfff6}, {text: "SWAPSPACE2", off: 0xfff6},
}

const toiMagic = "\xed\xc3\x02\xe9\x98\x56\xe5\x0c"

var suspendMagics = []magic{
	{text: toiMagic},
	{text: "S1SUSPEND", off: 0xff6}, {text: "S2SUSPEND", off: 0xff6}, {text: "ULSUSPEND", off: 0xff6}, {text: "LINHIB0001", off: 0xff6},
	{text: "S1SUSPEND", off: 0x1ff6}, {text: "S2SUSPEND", off: 0x1ff6}, {text: "ULSUSPEND", off: 0x1ff6}, {text: "LINHIB0001", off: 0x1ff6},
	{text: "S1SUSPEND", off: 0x3ff6}, {text: "S2SUSPEND", off: 0x3ff6}, {text: "ULSUSPEND", off: 0x3ff6}, {text: "LINHIB0001", off: 0x3ff6},
	{text: "S1SUSPEND", off: 0x7ff6}, {text: "S2SUSPEND", off: 0x7ff6}, {text: "ULSUSPEND", off: 0x7ff6}, {text: "LINHIB0001", off: 0x7ff6},
	{text: "S1SUSPEND", off: 0xfff6}, {text: "S2SUSPEND", off: 0xfff6}, {text: "ULSUSPEND", off: 0xfff6}, {text: "LINHIB0001", off: 0xfff6},
}

func (p *probe) swap(version string) bool {
	b := p.buf(1024, 512)
	if b == nil {
		return false
	}
	if version == "1" && (le.Uint32(b) != 1 && be.Uint32(b) != 1 || le.Uint32(b[4:]) == 0) {
		return false
	}
	if isZero(b[172:180]) { // old headers have rubbish here
		if b[28] != 0 {
			p.label(b[28:44])
		}
		p.uuid(b[12:])
	}
	p.version(version)
	return true
}

func probeSwap(p *probe, m *magic, _ []byte) bool {
	if b := p.buf(0, len(toiMagic)); b == nil || string(b) == toiMagic {
		return false
	}
	if m.text == "SWAP-SPACE" {
		p.version("0")
		return true
	}
	return p.swap("1")
}

func probeSuspend(p *probe, m *magic, _ []byte) bool {
	switch m.text {
	case "S1SUSPEND":
		return p.swap("s1suspend")
	case "S2SUSPEND":
		return p.swap("s2suspend")
	case "ULSUSPEND":
		return p.swap("ulsuspend")
	case "LINHIB0001":
		return p.swap("linhib0001")
	}
	return p.swap("tuxonice")
}

// vmfsUUID is VMware's order of the bytes.
func vmfsUUID(u []byte) string {
	return fmt.Sprintf("%02x%02x%02x%02x-%02x%02x%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		u[3], u[2], u[1], u[0], u[7], u[6], u[5], u[4], u[9], u[8], u[10], u[11], u[12], u[13], u[14], u[15])
}

func probeVMFS(p *probe, _ *magic, b []byte) bool {
	p.uuidf(b[9:25], "%s", vmfsUUID(b[9:25]))
	p.label(b[29:157])
	p.number("VERSION", uint64(b[8]))
	return true
}

func probeVMFSVolume(p *probe, _ *magic, b []byte) bool {
	p.set("UUID_SUB", vmfsUUID(b[130:146]))
	p.number("VERSION", uint64(le.Uint32(b[4:])))
	if b = p.buf(1<<20+512+20, 35); b != nil {
		p.uuidText(b)
	}
	return true
}
