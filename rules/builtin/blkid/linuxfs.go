package blkid

import (
	"bytes"
	"hash/crc32"
	"math/bits"
)

var extMagics = []magic{{text: "\x53\xef", kb: 1, off: 0x38}}

// ext is what the superblock of ext2, ext3 and ext4 says of features. Kernel: fs/ext4/ext4.h.
type ext struct {
	b                    []byte
	compat, incompat, ro uint32
	test                 bool
}

const (
	extHasJournal    = 0x4
	extJournalDev    = 0x8
	ext2Incompatible = ^uint32(0x2 | 0x10)       // all but file types and meta block groups
	ext3Incompatible = ^uint32(0x2 | 0x4 | 0x10) // and recovery
	extReadOnly      = ^uint32(0x1 | 0x2 | 0x4)  // all but sparse superblocks, large files, B-trees
)

func readExt(b []byte) ext {
	return ext{b, le.Uint32(b[0x5c:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:]), le.Uint32(b[0x160:])&4 != 0}
}

func (e ext) tell(p *probe, version int) {
	b := e.b
	if b[0x78] != 0 {
		p.label(b[0x78:0x88])
	}
	p.uuid(b[0x68:])
	if e.compat&extHasJournal != 0 {
		p.uuidAs("EXT_JOURNAL", b[0xd0:])
	}
	if version != 2 && e.incompat&ext2Incompatible == 0 {
		p.set("SEC_TYPE", "ext2")
	}
	p.dotted(uint64(le.Uint32(b[0x4c:])), uint64(le.Uint16(b[0x3e:])))
	if log := le.Uint32(b[0x18:]); log < 32 {
		p.blockSize(uint64(uint32(1024) << log))
	}
}

func probeJBD(p *probe, _ *magic, b []byte) bool {
	e := readExt(b)
	if e.incompat&extJournalDev == 0 {
		return false
	}
	e.tell(p, 2)
	p.uuidAs("LOGUUID", e.b[0x68:])
	return true
}

func probeExt2(p *probe, _ *magic, b []byte) bool {
	e := readExt(b)
	if e.compat&extHasJournal != 0 || e.ro&extReadOnly != 0 || e.incompat&ext2Incompatible != 0 {
		return false
	}
	e.tell(p, 2)
	return true
}

func probeExt3(p *probe, _ *magic, b []byte) bool {
	e := readExt(b)
	if e.compat&extHasJournal == 0 || e.ro&extReadOnly != 0 || e.incompat&ext3Incompatible != 0 {
		return false
	}
	e.tell(p, 3)
	return true
}

func probeExt4dev(p *probe, _ *magic, b []byte) bool {
	e := readExt(b)
	if e.incompat&extJournalDev != 0 || !e.test {
		return false
	}
	e.tell(p, 4)
	return true
}

func probeExt4(p *probe, _ *magic, b []byte) bool {
	e := readExt(b)
	if e.incompat&extJournalDev != 0 || e.ro&extReadOnly == 0 && e.incompat&ext3Incompatible == 0 || e.test {
		return false
	}
	e.tell(p, 4)
	return true
}

// probeXFS checks what the kernel checks of a superblock; EXFS is a variant of it that nobody has seen lately. Kernel:
// fs/xfs/libxfs/xfs_sb.c.
func probeXFS(p *probe, m *magic, b []byte) bool {
	block, dblocks := be.Uint32(b[4:]), be.Uint64(b[8:])
	ext, agBlocks, ags := be.Uint32(b[80:]), be.Uint32(b[84:]), be.Uint32(b[88:])
	sector, inode := uint32(be.Uint16(b[102:])), uint32(be.Uint16(b[104:]))
	blockLog, sectorLog, inodeLog, perBlockLog, percent := b[120], b[121], b[122], b[123], b[127]
	realtime := ext * block
	switch {
	case ags == 0,
		sector < 512 || sector > 1<<15 || sectorLog < 9 || sectorLog > 15 || sector != 1<<sectorLog,
		block < 512 || block > 1<<16 || blockLog < 9 || blockLog > 16 || block != 1<<blockLog,
		inode < 256 || inode > 2048 || inodeLog < 8 || inodeLog > 11 || inode != 1<<inodeLog,
		int(blockLog)-int(inodeLog) != int(perBlockLog),
		realtime > 1<<30 || realtime < 4<<10,
		percent > 100,
		dblocks == 0, dblocks > uint64(ags)*uint64(agBlocks), dblocks < uint64(ags-1)*uint64(agBlocks)+64:
		return false
	}
	if b[108] != 0 {
		p.label(b[108:120])
	}
	p.uuid(b[32:])
	if m.text == "EXFS" {
		sector = block
	}
	p.blockSize(uint64(sector))
	return true
}

// probeXFSLog looks for a log record's header in the first 256 KiB.
func probeXFSLog(p *probe, _ *magic, _ []byte) bool {
	if string(p.buf(0, 4)) == "XFSB" {
		return false
	}
	found := false
	p.each(0, 256<<10, 512, func(r []byte) bool {
		if string(r[:4]) == "XFSB" {
			return false
		}
		if be.Uint32(r) != 0xfeedbabe {
			return true
		}
		version, length, format := be.Uint32(r[8:]), be.Uint32(r[12:]), be.Uint32(r[300:])
		if version == 0 || version&^3 != 0 || length == 0 || length > 1<<31-1 || format < 1 || format > 3 {
			return true
		}
		p.uuidAs("LOGUUID", r[304:])
		found = true
		return false
	})
	return found
}

func probeBtrfs(p *probe, _ *magic, b []byte) bool {
	if p.opts.Zoned {
		return false
	}
	if b[0x12b] != 0 {
		p.label(b[0x12b : 0x12b+256])
	}
	p.uuid(b[0x20:])
	p.uuidAs("UUID_SUB", b[0x10b:])
	p.blockSize(uint64(le.Uint32(b[0x90:])))
	return true
}

func probeF2FS(p *probe, _ *magic, b []byte) bool {
	major, minor := le.Uint16(b[4:]), le.Uint16(b[6:])
	if major == 1 && minor == 0 {
		return true // the superblock of that version had nothing of this
	}
	if b[0x7c] != 0 {
		p.text("LABEL", trimRight(utf16Text(b[0x7c:], le)))
	}
	p.uuid(b[0x6c:])
	p.dotted(uint64(major), uint64(minor))
	if log := le.Uint32(b[0x10:]); log < 32 {
		p.blockSize(1 << log)
	}
	return true
}

func probeErofs(p *probe, _ *magic, b []byte) bool {
	if b[0x40] != 0 {
		p.label(b[0x40:0x50])
	}
	p.uuid(b[0x30:])
	if b[12] < 32 {
		p.blockSize(1 << b[12])
	}
	return true
}

// probeUBI reads the erase counter's header of a flash chip without its translation.
func probeUBI(p *probe, _ *magic, b []byte) bool {
	p.number("VERSION", uint64(b[4]))
	p.uuidf(b[24:28], "%d", be.Uint32(b[24:]))
	return true
}

func probeUBIFS(p *probe, _ *magic, b []byte) bool {
	p.uuid(b[108:])
	p.setf("VERSION", "w%dr%d", int32(le.Uint32(b[80:])), int32(le.Uint32(b[124:])))
	return true
}

func probeZonefs(p *probe, _ *magic, b []byte) bool {
	if b[8] != 0 {
		p.label(b[8:40])
	}
	p.uuid(b[40:])
	p.blockSize(4096)
	return true
}

func probeSquashfs(p *probe, _ *magic, b []byte) bool {
	if le.Uint16(b[28:]) < 4 {
		return false
	}
	p.dotted(uint64(le.Uint16(b[28:])), uint64(le.Uint16(b[30:])))
	return true
}

func probeSquashfs3(p *probe, m *magic, b []byte) bool {
	major, minor := le.Uint16(b[28:]), le.Uint16(b[30:])
	if m.text == "sqsh" {
		major, minor = bits.ReverseBytes16(major), bits.ReverseBytes16(minor)
	}
	if major > 3 {
		return false
	}
	p.dotted(uint64(major), uint64(minor))
	p.blockSize(1024)
	return true
}

func probeCramfs(p *probe, _ *magic, b []byte) bool {
	p.label(b[48:64])
	return true
}

func probeRomfs(p *probe, _ *magic, b []byte) bool {
	p.label(b[16:32])
	p.blockSize(1024)
	return true
}

func probeJFS(p *probe, _ *magic, b []byte) bool {
	size, log, factor := le.Uint32(b[16:]), le.Uint16(b[20:]), le.Uint16(b[22:])
	psize, plog := le.Uint32(b[24:]), le.Uint16(b[28:])
	if size != 1<<(log&31) || psize != 1<<(plog&31) || int(log)-int(plog) != int(factor) {
		return false
	}
	if b[152] != 0 {
		p.label(b[152:168])
	}
	p.uuid(b[136:])
	p.blockSize(uint64(size))
	return true
}

func probeReiser(p *probe, m *magic, b []byte) bool {
	size := uint32(le.Uint16(b[44:]))
	if size>>9 == 0 || uint32(m.kb)/(size>>9) > le.Uint32(b[12:])/2 {
		return false
	}
	digit := m.text[6]
	if digit == '2' || digit == '3' {
		if b[100] != 0 {
			p.label(b[100:116])
		}
		p.uuid(b[84:])
	}
	switch digit {
	case '3':
		p.version("JR")
	case '2':
		p.version("3.6")
	default:
		p.version("3.5")
	}
	p.blockSize(uint64(size))
	return true
}

func probeReiser4(p *probe, _ *magic, b []byte) bool {
	if b[36] != 0 {
		p.label(b[36:52])
	}
	p.uuid(b[20:])
	p.version("4")
	p.blockSize(uint64(b[19]) * 256)
	return true
}

// probeNilfs compares the superblock and its copy at the end; the newer one that is whole counts. Kernel:
// include/uapi/linux/nilfs2_ondisk.h.
func probeNilfs(p *probe, _ *magic, _ []byte) bool {
	const size = 1024
	valid := func(b []byte, copy bool) bool {
		if b == nil || le.Uint16(b[6:]) != 0x3434 {
			return false
		}
		if copy && p.opts.WholeDisk && le.Uint64(b[32:]) != uint64(p.size) {
			return false
		}
		n := int(le.Uint16(b[8:]))
		if n < 20 || n > size {
			return false
		}
		crc := rawCRC(le.Uint32(b[12:]), b[:16])
		crc = rawCRC(crc, []byte{0, 0, 0, 0})
		return rawCRC(crc, b[20:n]) == le.Uint32(b[16:])
	}
	first := p.buf(1024, size)
	if first == nil {
		return false
	}
	second := p.buf((p.size/512-8)*512, size)
	ok1, ok2 := valid(first, false), valid(second, true)
	if !ok1 && !ok2 {
		return false
	}
	b := first
	if ok2 && (!ok1 || le.Uint64(first[56:]) > le.Uint64(second[56:])) {
		b = second
	}
	if b[0xa8] != 0 {
		p.label(b[0xa8 : 0xa8+80])
	}
	p.uuid(b[0x98:])
	p.number("VERSION", uint64(le.Uint32(b)))
	if log := le.Uint32(b[20:]); log < 32 {
		p.blockSize(uint64(uint32(1024) << log))
	}
	return true
}

// rawCRC is CRC-32 without the inversions around it.
func rawCRC(crc uint32, b []byte) uint32 { return ^crc32.Update(^crc, crc32.IEEETable, b) }

const bcacheMagic = "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"

func probeBcache(p *probe, _ *magic, b []byte) bool {
	if le.Uint64(b[8:]) != 8 {
		return false
	}
	p.uuid(b[40:])
	return true
}

// probeZFS counts uberblocks in the four labels; four are enough. The label then says pool and device.
func probeZFS(p *probe, _ *magic, _ []byte) bool {
	const label, ring = 256 << 10, 128 << 10
	end := p.size - p.size%label
	found := 0
	var version uint64
	var at int64
	for _, at = range [...]int64{0, label, end - 2*label, end - label} {
		n, latest := 0, uint64(0)
		if !p.each(at+ring, label-ring, 1024, func(b []byte) bool {
			switch {
			case le.Uint64(b) == 0xbab10c:
				latest = le.Uint64(b[8:])
			case be.Uint64(b) == 0xbab10c:
				latest = be.Uint64(b[8:])
			default:
				return true
			}
			n++
			return true
		}) {
			return false
		}
		// What lies in a partition is the partition's.
		if n == 0 || p.whole() && p.covered(at, label) {
			continue
		}
		version = latest
		if found += n; found >= 4 {
			break
		}
	}
	if found < 4 {
		return false
	}
	p.number("VERSION", version)
	p.zfsNames(at + 16<<10)
	return true
}

// zfsNames reads the list of names and values of a label, in XDR.
func (p *probe) zfsNames(at int64) {
	b := p.buf(at, 4096)
	if b == nil {
		return
	}
	b = b[12:]
	for depth := 0; len(b) > 12; {
		size, nameLen := int64(be.Uint32(b)), int64(be.Uint32(b[8:]))
		name := (nameLen + 3) &^ 3
		switch {
		case size == 0:
			if depth == 0 {
				return
			}
			depth--
			size = 8
		case size > int64(len(b)) || name+12 > size:
			return
		default:
			key, value := b[12:12+min(nameLen, name)], b[12+name:size]
			if len(value) >= 16 && be.Uint32(value) == 19 { // a list within
				size = 12 + name + 16
				depth++
				break
			}
			p.zfsValue(key, value, depth)
		}
		if size > int64(len(b)) {
			return
		}
		b = b[size:]
	}
}

func (p *probe) zfsValue(key, value []byte, depth int) {
	is := func(name string) bool { return bytes.HasPrefix([]byte(name), key) }
	number := func() (uint64, bool) {
		if len(value) < 16 || be.Uint32(value) != 8 {
			return 0, false
		}
		return be.Uint64(value[8:]), true
	}
	switch {
	case is("name") && depth == 0 && len(value) >= 12:
		if n := uint64(be.Uint32(value[8:])); be.Uint32(value) == 9 && n+12 <= uint64(len(value)) {
			p.label(value[12 : 12+n])
		}
	case is("guid") && depth == 0:
		if v, ok := number(); ok {
			p.number("UUID_SUB", v)
		}
	case is("pool_guid") && depth == 0:
		if v, ok := number(); ok && v != 0 {
			p.number("UUID", v)
		}
	case is("ashift"):
		if v, ok := number(); ok && v < 32 {
			p.blockSize(1 << v)
		}
	}
}
