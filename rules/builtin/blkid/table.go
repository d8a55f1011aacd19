package blkid

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Table is a partition table.
type Table struct {
	Type       string // dos, gpt, mac, sun, sgi, aix, PMBR, ultrix, bsd, solaris, atari
	ID         string // its UUID or, for dos, the disk's signature; "" for none
	Partitions []Partition
}

// Partition is one entry of a table. Start and Size are in sectors of 512 bytes.
type Partition struct {
	Scheme      string // the table that it stands in: nested ones have their own
	Number      int
	Start, Size uint64
	Type        string // "0x83", a GUID, or a word
	UUID, Name  string
	Flags       uint64

	code     byte // of a dos entry
	extended bool
}

// ReadTable reads the partition table of the device of size bytes; nil when it has none.
func ReadTable(r io.ReaderAt, size int64, sectorSize int) (*Table, error) {
	if sectorSize < 512 || sectorSize > 1<<16 {
		sectorSize = 512
	}
	p := &probe{reader: reader{src: r, size: size}, opts: Options{SectorSize: sectorSize, WholeDisk: true}}
	t := p.table(false)
	return t, p.err
}

// table finds the partition table. With report, only what kind it is counts, and goes to the values.
func (p *probe) table(report bool) *Table {
	for _, find := range [...]func(*probe, bool) *Table{findAIX, findSGI, findSun, findDOS, findGPT, findPMBR, findMac,
		findUltrix, findBSD, findSolaris, findAtari} {
		t := find(p, !report)
		if p.err != nil {
			return nil
		}
		if t == nil {
			continue
		}
		if report {
			if t.ID != "" {
				p.set("PTUUID", t.ID)
			}
			p.set("PTTYPE", t.Type)
		}
		return t
	}
	return nil
}

// covered says whether the area lies within a partition of the device's own table.
func (p *probe) covered(off, size int64) bool {
	t := p.table(false)
	if t == nil {
		return false
	}
	start, end := uint64(off)>>9, uint64(off+size)>>9
	for _, part := range t.Partitions {
		if part.Start+part.Size > uint64(p.size)>>9 {
			return false
		}
	}
	for _, part := range t.Partitions {
		if start >= part.Start && end <= part.Start+part.Size {
			return true
		}
	}
	return false
}

// entry sets what the disk's table says of the partition that the device is.
func (p *probe) entry(e *Entry) {
	t, err := ReadTable(e.Disk, e.DiskSize, e.SectorSize)
	if err != nil || t == nil {
		return
	}
	for _, part := range t.Partitions {
		if e.Number != 0 && part.Number != e.Number || e.Number == 0 && part.Start != e.Start {
			continue
		}
		// The kernel shows only the first two sectors of an extended partition.
		if part.Size != e.Size && !(part.extended && e.Size <= 1024) {
			continue
		}
		p.set("PART_ENTRY_SCHEME", part.Scheme)
		if part.Name != "" {
			p.set("PART_ENTRY_NAME", part.Name)
		}
		if part.UUID != "" {
			p.set("PART_ENTRY_UUID", part.UUID)
		}
		p.set("PART_ENTRY_TYPE", part.Type)
		if part.Flags != 0 {
			p.setf("PART_ENTRY_FLAGS", "0x%x", part.Flags)
		}
		p.number("PART_ENTRY_NUMBER", uint64(part.Number))
		p.number("PART_ENTRY_OFFSET", part.Start)
		p.number("PART_ENTRY_SIZE", part.Size)
		p.setf("PART_ENTRY_DISK", "%d:%d", e.Major, e.Minor)
		return
	}
}

// sector returns 512 bytes at the n-th sector of 512.
func (p *probe) sector(n uint64) []byte {
	if n > uint64(p.size)>>9 {
		return nil
	}
	return p.buf(int64(n)<<9, 512)
}

// mbr is the first sector when it ends as one.
func (p *probe) mbr() []byte {
	if p.size < 1024 {
		return nil
	}
	b := p.sector(0)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return nil
	}
	return b
}

// dosEntry is one of the four entries of a boot record.
type dosEntry struct {
	boot, code  byte
	start, size uint32
}

func dosEntries(b []byte) (all [4]dosEntry) {
	for i := range all {
		e := b[446+16*i:]
		all[i] = dosEntry{e[0], e[4], le.Uint32(e[8:]), le.Uint32(e[12:])}
	}
	return all
}

func (e dosEntry) extended() bool { return e.code == 0x05 || e.code == 0x0f || e.code == 0x85 }

const aixMagic = "\xc9\xc2\xd4\xc1"

// findDOS reads a DOS table with its logical partitions. What begins with a file system that has a boot sector of its
// own is no table.
func findDOS(p *probe, list bool) *Table {
	b := p.mbr()
	if b == nil || string(b[:4]) == aixMagic {
		return nil
	}
	entries := dosEntries(b)
	empty := true
	for _, e := range entries {
		if e.boot != 0 && e.boot != 0x80 || e.code == 0xee {
			return nil
		}
		empty = empty && e.size == 0
	}
	if p.isFAT() || p.isNTFS() || p.lookup("TYPE") == "LVM2_member" && empty {
		return nil
	}
	if p.wiped { // the table is younger than the volume's label
		p.values = p.values[:0]
		p.wiped = false
	}
	t := &Table{Type: "dos"}
	if id := le.Uint32(b[440:]); id != 0 {
		t.ID = fmt.Sprintf("%08x", id)
	}
	if !list {
		return t
	}
	factor := uint32(p.opts.SectorSize / 512)
	add := func(number int, e dosEntry, start, size uint32) {
		part := Partition{Scheme: "dos", Number: number, Start: uint64(start), Size: uint64(size), Type: fmt.Sprintf("0x%x", e.code),
			Flags: uint64(e.boot), code: e.code, extended: e.extended()}
		if t.ID != "" {
			part.UUID = fmt.Sprintf("%s-%02x", t.ID, number)
		}
		t.Partitions = append(t.Partitions, part)
	}
	for i, e := range entries {
		if e.size != 0 {
			add(i+1, e, e.start*factor, e.size*factor)
		}
	}
	next := 5
	for _, e := range entries {
		if e.size != 0 && e.extended() {
			next = p.logical(t, next, e.start*factor, e.size*factor, factor, add)
		}
	}
	if p.size > tinySize {
		for _, part := range t.Partitions[:len(t.Partitions):len(t.Partitions)] {
			if part.Number <= 4 && part.Start+part.Size <= uint64(p.size)>>9 {
				next = p.slices(t, next, &part)
			}
		}
	}
	return t
}

// logical follows the chain of boot records in an extended partition.
func (p *probe) logical(t *Table, next int, start, size, factor uint32, add func(int, dosEntry, uint32, uint32)) int {
	if start == 0 {
		return next
	}
	at, within := start, size
	for idle := 0; idle < 100; idle++ {
		b := p.sector(uint64(at))
		if b == nil || b[510] != 0x55 || b[511] != 0xaa {
			return next
		}
		entries := dosEntries(b)
		for i, e := range entries {
			from, n := e.start*factor, e.size*factor
			abs := at + from
			if n == 0 || e.extended() {
				continue
			}
			if i >= 2 && (from+n > within || abs < start || abs+n > start+size) {
				continue
			}
			known := false
			for _, part := range t.Partitions {
				known = known || part.Start == uint64(abs)
			}
			if known || len(t.Partitions) > 256 {
				continue
			}
			add(next, e, abs, n)
			next++
			idle = 0
		}
		link := -1
		for i, e := range entries {
			if e.size*factor != 0 && e.extended() && e.start*factor != 0 {
				link = i
				break
			}
		}
		if link < 0 {
			return next
		}
		at, within = start+entries[link].start*factor, entries[link].size*factor
	}
	return next
}

// protective says whether the first sector has the entry that keeps others off a GPT disk.
func (p *probe) protective() bool {
	b := p.mbr()
	if b == nil {
		return false
	}
	for _, e := range dosEntries(b) {
		if e.code == 0xee {
			return true
		}
	}
	return false
}

// gpt returns the header at the sector lba, when it is whole, and the entries.
func (p *probe) gpt(lba, last uint64) (header, entries []byte) {
	ss := uint64(p.opts.SectorSize)
	h := p.buf(int64(lba*ss), int(ss))
	if h == nil || string(h[:8]) != "EFI PART" {
		return nil, nil
	}
	n := le.Uint32(h[12:])
	if uint64(n) > ss || n < 92 {
		return nil, nil
	}
	crc := crc32.ChecksumIEEE(h[:16])
	crc = crc32.Update(crc, crc32.IEEETable, []byte{0, 0, 0, 0})
	crc = crc32.Update(crc, crc32.IEEETable, h[20:n])
	first, final := le.Uint64(h[40:]), le.Uint64(h[48:])
	if crc != le.Uint32(h[16:]) || le.Uint64(h[24:]) != lba || final < first || first > last || final > last || first < lba && lba < final {
		return nil, nil
	}
	size := uint64(le.Uint32(h[80:])) * uint64(le.Uint32(h[84:]))
	if size == 0 || size > most || le.Uint32(h[84:]) != 128 || le.Uint64(h[72:]) > last {
		return nil, nil
	}
	entries = p.buf(int64(le.Uint64(h[72:])*ss), int(size))
	if entries == nil || crc32.ChecksumIEEE(entries) != le.Uint32(h[88:]) {
		return nil, nil
	}
	return h, entries
}

// findGPT reads the primary table or, where that is damaged, its copy at the end. Format: UEFI, 5.3.
func findGPT(p *probe, list bool) *Table {
	ss := int64(p.opts.SectorSize)
	if p.size < ss || !p.protective() {
		return nil
	}
	last := uint64(p.size/ss - 1)
	h, entries := p.gpt(1, last)
	if h == nil && p.err == nil {
		h, entries = p.gpt(last, last)
	}
	if h == nil {
		return nil
	}
	t := &Table{Type: "gpt", ID: formatGUID(h[56:])}
	if !list {
		return t
	}
	factor := uint64(ss / 512)
	first, final := le.Uint64(h[40:]), le.Uint64(h[48:])
	for i := 0; i*128 < len(entries); i++ {
		e := entries[i*128:][:128]
		start, size := le.Uint64(e[32:]), le.Uint64(e[40:])-le.Uint64(e[32:])+1
		if isZero(e[:16]) || start < first || start+size-1 > final {
			continue
		}
		t.Partitions = append(t.Partitions, Partition{Scheme: "gpt", Number: i + 1, Start: start * factor, Size: size * factor,
			Type: formatGUID(e), UUID: formatGUID(e[16:]), Name: trimRight(utf16Text(e[56:128], le)), Flags: le.Uint64(e[48:])})
	}
	return t
}

// findPMBR is a protective entry whose GPT is gone.
func findPMBR(p *probe, list bool) *Table {
	if p.size < int64(p.opts.SectorSize) || !p.protective() || findGPT(p, false) != nil {
		return nil
	}
	return &Table{Type: "PMBR"}
}

// findMac reads Apple's partition map.
func findMac(p *probe, list bool) *Table {
	b := p.sector(0)
	if b == nil || p.size < 1024 || string(b[:2]) != "ER" {
		return nil
	}
	bs := int64(be.Uint16(b[2:]))
	if bs < 136 {
		return nil
	}
	entry := func(i int64) []byte {
		e := p.buf(i*bs, int(bs))
		if e == nil || string(e[:2]) != "PM" && string(e[:2]) != "TS" {
			return nil
		}
		return e
	}
	e := entry(1)
	if e == nil {
		return nil
	}
	t := &Table{Type: "mac"}
	if !list {
		return t
	}
	factor := uint64(bs / 512)
	for i := range min(int64(be.Uint32(e[4:])), 256) {
		if e = entry(i + 1); e == nil {
			return nil
		}
		t.Partitions = append(t.Partitions, Partition{Scheme: "mac", Number: int(i) + 1, Start: uint64(be.Uint32(e[8:])) * factor,
			Size: uint64(be.Uint32(e[12:])) * factor, Name: trimRight(cString(e[16:48])), Type: strings.TrimRight(cString(e[48:80]), space)})
	}
	return t
}

func findAIX(p *probe, list bool) *Table {
	if b := p.sector(0); b == nil || p.size < 1024 || string(b[:4]) != aixMagic {
		return nil
	}
	return &Table{Type: "aix"}
}

func findSGI(p *probe, list bool) *Table {
	b := p.sector(0)
	if b == nil || p.size < 1024 || string(b[:4]) != "\x0b\xe5\xa9\x41" {
		return nil
	}
	sum := uint32(0)
	for i := 0; i < 512; i += 4 {
		sum += be.Uint32(b[i:])
	}
	if sum != 0 {
		return nil
	}
	t := &Table{Type: "sgi"}
	for i := 0; list && i < 16; i++ {
		e := b[312+12*i:]
		if size := be.Uint32(e); size != 0 {
			t.Partitions = append(t.Partitions, Partition{Scheme: "sgi", Number: i + 1, Start: uint64(be.Uint32(e[4:])), Size: uint64(size),
				Type: fmt.Sprintf("0x%x", be.Uint32(e[8:]))})
		}
	}
	return t
}

func findSun(p *probe, list bool) *Table {
	b := p.sector(0)
	if b == nil || p.size < 1024 || string(b[508:510]) != "\xda\xbe" {
		return nil
	}
	sum := uint16(0)
	for i := 0; i < 512; i += 2 {
		sum ^= be.Uint16(b[i:])
	}
	if sum != 0 {
		return nil
	}
	t := &Table{Type: "sun"}
	if !list {
		return t
	}
	cylinder := uint64(be.Uint16(b[436:])) * uint64(be.Uint16(b[438:]))
	count := 8
	vtoc := be.Uint32(b[188:]) == 0x600ddeee && be.Uint32(b[128:]) == 1 && be.Uint16(b[140:]) <= 8
	if vtoc {
		count = int(be.Uint16(b[140:]))
	} else {
		vtoc = bytes.Equal(b[128:132], make([]byte, 4)) && isZero(b[188:192]) && isZero(b[140:142])
	}
	for i := range count {
		e := b[444+8*i:]
		part := Partition{Scheme: "sun", Number: i + 1, Start: uint64(be.Uint32(e)) * cylinder, Size: uint64(be.Uint32(e[4:])), Type: "0x0"}
		if vtoc {
			info := b[142+4*i:]
			kind := be.Uint16(info)
			if kind == 5 { // the whole disk
				continue
			}
			part.Type, part.Flags = fmt.Sprintf("0x%x", kind), uint64(be.Uint16(info[2:]))
		}
		if part.Size != 0 {
			t.Partitions = append(t.Partitions, part)
		}
	}
	return t
}
