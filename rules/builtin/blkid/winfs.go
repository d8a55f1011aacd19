package blkid

var fatMagics = []magic{
	{text: "MSWIN", off: 0x52}, {text: "FAT32   ", off: 0x52}, {text: "MSDOS", off: 0x36}, {text: "FAT16   ", off: 0x36},
	{text: "FAT12   ", off: 0x36}, {text: "FAT     ", off: 0x36}, {text: "\xeb"}, {text: "\xe9"}, {text: "\x55\xaa", off: 0x1fe},
}

var fatKind = kind{magics: fatMagics}

// fat is what the boot sector of a FAT file system says. Format: Microsoft's FAT specification.
type fat struct {
	b          []byte
	sector     uint32
	cluster    uint32 // sectors
	reserved   uint32
	fatSectors uint32 // all copies
	dirEntries uint32
	clusters   uint32
	length16   uint32
	length32   uint32
}

func isPower2(n uint32) bool { return n != 0 && n&(n-1) == 0 }

// fat reads the boot sector and says whether it makes sense.
func (p *probe) fat(m *magic) (f fat, ok bool) {
	b := p.sb(m, 512)
	if b == nil {
		return f, false
	}
	if len(m.text) <= 2 {
		// A weak magic: the sector must end as one and begin no other's file system.
		if b[510] != 0x55 || b[511] != 0xaa || string(b[0x36:0x3e]) == "JFS     " || string(b[0x36:0x3e]) == "HPFS    " {
			return f, false
		}
	}
	f = fat{b: b, sector: uint32(le.Uint16(b[11:])), cluster: uint32(b[13]), reserved: uint32(le.Uint16(b[14:])),
		dirEntries: uint32(le.Uint16(b[17:])), length16: uint32(le.Uint16(b[22:])), length32: le.Uint32(b[36:])}
	fats, media := uint32(b[16]), b[21]
	if fats == 0 || f.reserved == 0 || media < 0xf8 && media != 0xf0 || !isPower2(f.cluster) || !isPower2(f.sector) ||
		f.sector < 512 || f.sector > 4096 {
		return f, false
	}
	sectors := uint32(le.Uint16(b[19:]))
	if sectors == 0 {
		sectors = le.Uint32(b[32:])
	}
	length := f.length16
	if length == 0 {
		length = f.length32
	}
	f.fatSectors = length * fats
	dir := (f.dirEntries*32 + f.sector - 1) / f.sector
	f.clusters = (sectors - (f.reserved + f.fatSectors + dir)) / f.cluster
	limit := uint32(fat12Max)
	if f.length16 == 0 && f.length32 != 0 {
		limit = fat32Max
	} else if f.clusters > fat12Max {
		limit = fat16Max
	}
	if f.clusters > limit || p.isBitLocker() {
		return f, false
	}
	return f, true
}

const fat12Max, fat16Max, fat32Max = 0xff4, 0xfff4, 0x0ffffff6

// isFAT says whether the device begins with a FAT file system, of which the table in its first sector is none.
func (p *probe) isFAT() bool {
	m := p.magic(&fatKind)
	if m == nil {
		return false
	}
	_, ok := p.fat(m)
	return ok
}

// fatLabel looks through a directory for the entry that is the volume's name.
func (p *probe) fatLabel(off int64, entries uint32) []byte {
	for i := range entries {
		e := p.buf(off+int64(i)*32, 32)
		if e == nil || e[0] == 0 {
			return nil
		}
		cluster := le.Uint16(e[20:])|le.Uint16(e[26:]) != 0
		if e[0] == 0xe5 || cluster || e[11]&0x3f == 0x0f {
			continue
		}
		if e[11]&0x18 == 0x08 {
			name := append([]byte(nil), e[:11]...)
			if name[0] == 0x05 {
				name[0] = 0xe5
			}
			return name
		}
	}
	return nil
}

// serial sets a UUID of the four bytes that DOS and its kin have.
func (p *probe) serial(b []byte) { p.uuidf(b, "%02X%02X-%02X%02X", b[3], b[2], b[1], b[0]) }

func probeFAT(p *probe, m *magic, _ []byte) bool {
	f, ok := p.fat(m)
	if !ok {
		return false
	}
	b := f.b
	var name, boot, serial []byte
	version := ""
	switch {
	case f.length16 != 0:
		name = p.fatLabel(int64((f.reserved+f.fatSectors)*f.sector), f.dirEntries)
		if b[38] == 0x29 {
			boot = b[43:54]
		}
		if b[38] == 0x28 || b[38] == 0x29 {
			serial = b[39:43]
		}
		p.set("SEC_TYPE", "msdos")
		if f.clusters < fat12Max {
			version = "FAT12"
		} else if f.clusters < fat16Max {
			version = "FAT16"
		}
	case f.length32 != 0:
		entries := uint32(uint64(f.length32) * uint64(f.sector) / 4)
		size := f.cluster * f.sector
		next := le.Uint32(b[44:])
		for loop := 0; next != 0 && next < entries && loop < 99; loop++ {
			at := int64(f.reserved+f.fatSectors+(next-2)*f.cluster) * int64(f.sector)
			if name = p.fatLabel(at, size/32); name != nil {
				break
			}
			e := p.buf(int64(f.reserved)*int64(f.sector)+int64(next)*4, 4)
			if e == nil {
				break
			}
			next = le.Uint32(e) & 0x0fffffff
		}
		version = "FAT32"
		if b[66] == 0x29 {
			boot = b[71:82]
		}
		serial = b[67:71]
		if info := le.Uint16(b[48:]); info != 0 {
			i := p.buf(int64(info)*int64(f.sector), 512)
			if i == nil {
				return false
			}
			if s := string(i[:4]); s != "RRaA" && s != "RRdA" && s != "\x00\x00\x00\x00" {
				return false
			}
			if s := string(i[484:488]); s != "rrAa" && s != "\x00\x00\x00\x00" {
				return false
			}
		}
	}
	if boot != nil && string(boot) != "NO NAME    " {
		p.id("LABEL_FATBOOT", boot)
	}
	if name != nil {
		p.label(name)
	}
	if serial != nil {
		p.serial(serial)
	}
	if version != "" {
		p.version(version)
	}
	p.blockSize(uint64(f.sector))
	return true
}

// probeExFAT reads the boot sector and walks the root directory for the name.
func probeExFAT(p *probe, _ *magic, b []byte) bool {
	if b[108] > 31 || b[108]+b[109] > 31 {
		return false
	}
	blockBits, clusterBits := b[108], b[109]
	size := int64(1) << (blockBits + clusterBits)
	offset := func(cluster uint32) int64 {
		return (int64(le.Uint32(b[88:])) + (int64(cluster)-2)<<clusterBits) << blockBits
	}
	cluster := le.Uint32(b[96:])
	at := offset(cluster)
	for range 10000 {
		e := p.buf(at, 32)
		if e == nil || e[0] == 0 {
			break
		}
		if e[0] == 0x83 {
			p.text("LABEL", trimRight(utf16Text(e[2:2+min(int(e[1])*2, 22)], le)))
			break
		}
		if at += 32; at%size == 0 {
			n := p.buf(int64(le.Uint32(b[80:]))<<blockBits+int64(cluster)*4, 4)
			if n == nil {
				break
			}
			if cluster = le.Uint32(n); cluster < 2 || cluster > 0xffffff6 {
				break
			}
			at = offset(cluster)
		}
	}
	p.serial(b[100:104])
	p.dotted(uint64(b[105]), uint64(b[104]))
	p.blockSize(1 << blockBits)
	return true
}

var ntfsMagics = []magic{{text: "NTFS    ", off: 3}}

var ntfsKind = kind{size: 84, magics: ntfsMagics, probe: probeNTFS}

// isNTFS says whether the device begins with NTFS.
func (p *probe) isNTFS() bool {
	values := len(p.values)
	ok := p.try(&ntfsKind)
	p.values = p.values[:values]
	return ok
}

// probeNTFS reads the boot sector, and record 3 of the master file table for the name.
func probeNTFS(p *probe, _ *magic, b []byte) bool {
	sector, perCluster := uint32(le.Uint16(b[11:])), uint32(b[13])
	if sector < 256 || sector > 4096 {
		return false
	}
	if !isPower2(perCluster) {
		if perCluster < 240 || perCluster > 249 {
			return false
		}
		perCluster = 1 << (256 - perCluster)
	}
	if sector*perCluster > 2<<20 {
		return false
	}
	// What a FAT boot sector has in these places is zero here.
	if le.Uint16(b[14:]) != 0 || b[16] != 0 || le.Uint16(b[17:]) != 0 || le.Uint16(b[19:]) != 0 || le.Uint16(b[22:]) != 0 || le.Uint32(b[32:]) != 0 {
		return false
	}
	clusters := int8(b[64])
	if (b[64] < 0xe1 || b[64] > 0xf7) && (clusters <= 0 || !isPower2(uint32(clusters)) || clusters > 64) {
		return false
	}
	record := uint32(0)
	if clusters > 0 {
		record = uint32(clusters) * perCluster * sector
	} else {
		record = 1 << -clusters
	}
	total := le.Uint64(b[40:]) / uint64(perCluster)
	mft := le.Uint64(b[48:])
	if mft > total || le.Uint64(b[56:]) > total || record < 42 || record > most {
		return false
	}
	at := mft * uint64(sector) * uint64(perCluster)
	if at > uint64(p.size) {
		return false
	}
	r := p.buf(int64(at), int(record))
	if r == nil || string(r[:4]) != "FILE" {
		return false
	}
	r = p.buf(int64(at)+3*int64(record), int(record))
	if r == nil || string(r[:4]) != "FILE" {
		return false
	}
	for off := uint32(le.Uint16(r[20:])); off+24 <= record && off <= le.Uint32(r[28:]); {
		a := r[off:]
		kind, length := le.Uint32(a), le.Uint32(a[4:])
		if length == 0 || kind == 0xffffffff {
			break
		}
		if kind == 0x60 {
			start, n := uint64(le.Uint16(a[20:])), uint64(le.Uint32(a[16:]))
			if uint64(off)+start+n <= uint64(record) {
				p.text("LABEL", trimRight(utf16Text(a[start:start+n], le)))
			}
			break
		}
		if length > record {
			break
		}
		off += length
	}
	p.blockSize(uint64(sector))
	p.uuidf(b[72:80], "%016X", le.Uint64(b[72:]))
	return true
}

const (
	bdeVista = "\xebR\x90-FVE-FS-"
	bdeWin7  = "\xebX\x90-FVE-FS-"
	bdeToGo  = "\xebX\x90MSWIN4.1"
)

// bitLocker returns the header's kind and the metadata's version; ok says whether this is BitLocker.
func (p *probe) bitLocker() (kind string, version int, ok bool) {
	b := p.buf(0, 512)
	if b == nil {
		return "", 0, false
	}
	var at uint64
	switch kind = string(b[:11]); kind {
	case bdeVista:
		return kind, -1, true
	case bdeWin7:
		at = le.Uint64(b[176:])
	case bdeToGo:
		at = le.Uint64(b[440:])
	default:
		return "", 0, false
	}
	if at == 0 || at > uint64(p.size) {
		return "", 0, false
	}
	f := p.buf(int64(at), 12)
	if f == nil || string(f[:8]) != "-FVE-FS-" {
		return "", 0, false
	}
	return kind, int(le.Uint16(f[10:])), true
}

func (p *probe) isBitLocker() bool {
	_, _, ok := p.bitLocker()
	return ok
}

func probeBitLocker(p *probe, _ *magic, _ []byte) bool {
	kind, version, ok := p.bitLocker()
	if !ok {
		return false
	}
	if kind == bdeWin7 {
		b := p.buf(0, 512)
		p.uuidf(b[67:71], "%016d", int32(le.Uint32(b[67:])))
	}
	if version >= 0 {
		p.number("VERSION", uint64(version))
	}
	return true
}
