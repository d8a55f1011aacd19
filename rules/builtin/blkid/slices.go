package blkid

import "fmt"

// Tables of other systems, most of which lie within a partition of a DOS table and cut it into slices.

// slices appends those of the partition to the table and returns the number of the next one. Kernel:
// block/partitions/msdos.c. UnixWare's label is left out as libblkid looks for it where it never is.
func (p *probe) slices(t *Table, next int, parent *Partition) int {
	found := &Table{}
	switch parent.code {
	case 0xa5, 0xa6, 0xa9:
		p.bsd(found, parent)
	case 0x82: // or Linux's swap
		p.solaris(found, parent)
	case 0x81:
		p.minixTable(found, parent)
	}
	for _, part := range found.Partitions {
		if part.Start < parent.Start || part.Start+part.Size > parent.Start+parent.Size {
			continue
		}
		part.Number = next
		next++
		t.Partitions = append(t.Partitions, part)
	}
	return next
}

func (t *Table) add(part Partition) {
	part.Scheme, part.Number = t.Type, len(t.Partitions)+1
	t.Partitions = append(t.Partitions, part)
}

// bsd reads a disk label of FreeBSD, NetBSD, OpenBSD or another, wherever the machine's kind wants it.
func (p *probe) bsd(t *Table, parent *Partition) bool {
	base := int64(0)
	t.Type = "bsd"
	if parent != nil {
		base = int64(parent.Start) << 9
		t.Type = map[byte]string{0xa5: "freebsd", 0xa6: "openbsd", 0xa9: "netbsd"}[parent.code]
	}
	for _, off := range [...]int64{512, 64, 128} {
		b := p.buf(base+off, 148+16*16)
		if b == nil || string(b[:4]) != "\x57\x45\x56\x82" {
			continue
		}
		count := min(int(le.Uint16(b[138:])), 16)
		relative := t.Type == "freebsd" && count >= 3 && le.Uint32(b[148+2*16+4:]) == 0
		for i := range count {
			e := b[148+16*i:]
			if e[12] == 0 {
				continue
			}
			start, size := uint64(le.Uint32(e[4:])), uint64(le.Uint32(e))
			if relative {
				start += parent.Start
			}
			if parent == nil || start != parent.Start || size != parent.Size {
				t.add(Partition{Start: start, Size: size, Type: fmt.Sprintf("0x%x", e[12])})
			}
		}
		return true
	}
	return false
}

// findBSD reads a label that has the disk for itself. libblkid lists its partitions and does not name it.
func findBSD(p *probe, list bool) *Table {
	t := &Table{}
	if !list || !p.bsd(t, nil) {
		return nil
	}
	return t
}

// solaris reads the table of Solaris on a PC. The last slice that it counts is not looked at, in libblkid as here.
func (p *probe) solaris(t *Table, parent *Partition) bool {
	base := uint64(0)
	if parent != nil {
		base = parent.Start
	}
	b := p.buf(int64(base+1)<<9, 512)
	if b == nil || string(b[12:16]) != "\xee\xde\x0d\x60" || le.Uint32(b[16:]) != 1 {
		return false
	}
	t.Type = "solaris"
	for i := 0; i < min(int(le.Uint16(b[30:])), 16)-1; i++ {
		e := b[72+12*i:]
		tag, size := le.Uint16(e), uint64(le.Uint32(e[8:]))
		if size != 0 && tag != 5 { // the whole disk
			t.add(Partition{Start: base + uint64(le.Uint32(e[4:])), Size: size, Type: fmt.Sprintf("0x%x", tag), Flags: uint64(le.Uint16(e[2:]))})
		}
	}
	return true
}

func findSolaris(p *probe, _ bool) *Table {
	t := &Table{}
	if !p.solaris(t, nil) {
		return nil
	}
	return t
}

// minixTable is a DOS table within a partition of Minix.
func (p *probe) minixTable(t *Table, parent *Partition) {
	b := p.sector(parent.Start)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return
	}
	t.Type = "minix"
	for _, e := range dosEntries(b) {
		if e.code == 0x81 {
			t.add(Partition{Start: uint64(e.start), Size: uint64(e.size), Type: "0x81", Flags: uint64(e.boot)})
		}
	}
}

// findUltrix reads the table in the 72 bytes before 16 KiB.
func findUltrix(p *probe, _ bool) *Table {
	b := p.buf(16<<10-72, 72)
	if b == nil || le.Uint32(b) != 0x032957 || le.Uint32(b[4:]) != 1 {
		return nil
	}
	t := &Table{Type: "ultrix"}
	for i := range 8 {
		e := b[8+8*i:]
		if size := le.Uint32(e); size != 0 {
			t.Partitions = append(t.Partitions, Partition{Scheme: t.Type, Number: i + 1, Start: uint64(le.Uint32(e[4:])), Size: uint64(size), Type: "0x0"})
		}
	}
	return t
}

// atariTable is a root sector's table as it is read. Kernel: block/partitions/atari.c.
type atariTable struct {
	Table
	next int
}

// entry says of the 12 bytes of an entry whether it is in use, what it holds, where and how much.
func (t *atariTable) entry(b []byte) (id string, start, size uint32) {
	if b[0]&1 == 0 {
		return "", 0, 0
	}
	return string(b[1:4]), be.Uint32(b[4:]), be.Uint32(b[8:])
}

// add appends the entry, counted from base, unless one begins there already; an empty place keeps its number.
func (t *atariTable) add(b []byte, base uint32) bool {
	id, start, size := t.entry(b)
	used := id != ""
	for _, part := range t.Partitions {
		used = used && part.Start != uint64(start+base)
	}
	if used {
		t.Partitions = append(t.Partitions, Partition{Scheme: t.Type, Number: t.next, Start: uint64(start + base), Size: uint64(size), Type: id})
	}
	if used || base == 0 {
		t.next++
	}
	return used
}

// isAtariID says whether the bytes are letters and digits, as the kernel has them: of Latin-1.
func isAtariID(id string) bool {
	for i := range len(id) {
		if c := id[i]; !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0xc0 && c != 0xd7 && c != 0xf7) {
			return false
		}
	}
	return true
}

func atariArea(start, size, limit uint32) bool {
	end := start + size
	return end >= start && start > 0 && start <= limit && size > 0 && size <= limit && end <= limit
}

// A root sector has its four entries in one place, and eight of ICD's in another.
const atariEntries, atariICD, atariExtended = 0x1c6, 0x156, "XGM"

// findAtari reads a root sector with its extended partitions or those of ICD. It has no signature: one entry must make
// sense.
func findAtari(p *probe, _ bool) *Table {
	b := p.sector(0)
	if b == nil || p.opts.SectorSize != 512 || p.size>>9 > 1<<31-1 {
		return nil
	}
	limit, bad, badLen := be.Uint32(b[0x1c2:]), be.Uint32(b[0x1f6:]), be.Uint32(b[0x1fa:])
	if limit < 2 || int64(limit) > p.size>>9 || bad|badLen != 0 && !atariArea(bad, badLen, limit) {
		return nil
	}
	t := &atariTable{Table: Table{Type: "atari"}, next: 1}
	sensible, extended := false, false
	for i := atariEntries; i < atariEntries+48; i += 12 {
		id, start, size := t.entry(b[i:])
		sensible = sensible || id != "" && isAtariID(id) && atariArea(start, size, limit)
		if id == atariExtended {
			extended = true
			t.chain(p, start)
		} else {
			t.add(b[i:], 0)
		}
	}
	if !sensible {
		return nil
	}
	for i := atariICD; i < atariICD+96 && !extended; i += 12 {
		switch string(b[i+1 : i+4]) {
		case "GEM", "BGM", "LNX", "SWP", "RAW":
			t.add(b[i:], 0)
		default:
			if i == atariICD {
				return &t.Table
			}
			t.next++
		}
	}
	return &t.Table
}

// chain follows root sectors that hold a partition and the way to the next of them.
func (t *atariTable) chain(p *probe, first uint32) {
	at := first
	for range 100 {
		b := p.sector(uint64(at))
		if b == nil {
			return
		}
		i := atariEntries
		for i < atariEntries+36 && b[i]&1 == 0 {
			i += 12
		}
		if id, _, _ := t.entry(b[i:]); i == atariEntries+36 || id == atariExtended || !t.add(b[i:], at) {
			return
		}
		id, start, _ := t.entry(b[i+12:])
		if id != atariExtended {
			return
		}
		at = first + start
	}
}
