// Package blkid says what lies on a block device: a file system, a member of a RAID or volume group, an encrypted
// volume, swap, and a partition table; in the words in which libblkid says it to udev.
//
// [Probe] reads the few places where each format has its signature, and nothing beyond the device's end. Where two
// formats that exclude each other both seem to be there, it says so and names neither. [ReadTable] lists partitions.
//
// Format of the values: libblkid(3) of util-linux 2.38: TYPE, USAGE, UUID, UUID_SUB, LABEL, VERSION, PTTYPE, PTUUID,
// PART_ENTRY_* and so on.
package blkid

import (
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Value is one finding under libblkid's name.
type Value struct{ Key, Value string }

// ErrAmbivalent is the error of a device that carries the signatures of several formats, of which one must be stale.
var ErrAmbivalent = errors.New("several file systems leave their marks here")

// Options say what is known of the device.
type Options struct {
	SectorSize int   // logical, in bytes; 0 is 512
	WholeDisk  bool  // rather than a partition
	File       bool  // a regular file
	CDROM      bool  // neither RAID nor swap is looked for
	Zoned      bool  // host-managed zones: btrfs is not looked for at its usual place
	NoRAID     bool  // leave out RAID and LVM members
	Session    int64 // where an optical disc's last session begins, in bytes

	// Entry is the partition that the device is; nil when it is none.
	Entry *Entry
}

// Entry finds a partition in its disk's table.
type Entry struct {
	Disk         io.ReaderAt
	DiskSize     int64
	SectorSize   int
	Major, Minor uint32 // of the disk
	Start, Size  uint64 // of the partition, in sectors of 512 bytes
	Number       int    // instead of Start, when not 0
}

// tinySize is that of a floppy: what is not larger carries one file system at most, and no RAID.
const tinySize = 1440 << 10

type usage uint8

const (
	filesystem usage = iota
	raid
	crypto
	other
)

func (u usage) String() string {
	return [...]string{"filesystem", "raid", "crypto", "other"}[u]
}

// kind is a format and how it is recognised.
type kind struct {
	name     string
	usage    usage
	min      int64 // the smallest device
	disk     bool  // looked for on a whole disk (or in a file) only
	tolerant bool  // may share a device with others of its like
	size     int   // of the superblock, which begins where the magic's place is counted from
	magics   []magic

	// probe looks closer, at the superblock b, and says what it finds; nil: the magic is enough.
	probe func(p *probe, m *magic, b []byte) bool
}

// magic is a text at a place: kb KiB, or end sectors of 512 bytes before the device's end, and off bytes beyond that.
type magic struct {
	text    string
	kb, off uint16
	end     uint16
	session bool // counted from the last session
}

// probe is the examination of one device. It belongs to one goroutine.
type probe struct {
	reader
	opts   Options
	values []Value
	wiped  bool // LVM clears the first 8 KiB: a table found there is younger
	noPT   bool // a RAID member's table is the array's
}

// Probe examines the device of size bytes. Without a finding the values are empty and there is no error.
func Probe(r io.ReaderAt, size int64, opts Options) ([]Value, error) {
	if opts.SectorSize < 512 || opts.SectorSize > 1<<16 {
		opts.SectorSize = 512
	}
	p := &probe{reader: reader{src: r, size: size}, opts: opts}
	if size <= tinySize && opts.WholeDisk {
		// A small disk with a table has no file system of its own.
		t := p.table(true)
		if p.err != nil {
			return nil, p.err
		}
		if t != nil {
			return p.values, nil
		}
		p.values = nil
	}
	if err := p.superblocks(); err != nil {
		return nil, err
	}
	if p.wiped || !p.noPT {
		p.table(true)
	}
	if p.err != nil {
		return nil, p.err
	}
	if opts.Entry != nil {
		p.entry(opts.Entry)
	}
	return p.values, nil
}

// superblocks finds the format that counts: the first RAID or encrypted one at once, else the only one.
func (p *probe) superblocks() error {
	if p.size <= 1024 {
		return nil
	}
	tiny := p.size <= tinySize
	var first []Value
	count, intolerant := 0, 0
	for i := range kinds {
		k := &kinds[i]
		if k.usage == raid && (p.opts.NoRAID || tiny) || k.disk && !p.whole() || p.size < k.min ||
			p.opts.CDROM && (k.usage == raid || k.usage == other) {
			continue
		}
		p.values = p.values[:0]
		p.wiped = false
		ok := p.try(k)
		if p.err != nil {
			return p.err
		}
		if !ok {
			continue
		}
		p.set("TYPE", k.name)
		p.set("USAGE", k.usage.String())
		count++
		if tiny && count == 1 {
			return nil
		}
		if k.usage == raid || k.usage == crypto {
			p.noPT = k.usage == raid
			if count > 1 && intolerant > 0 {
				return fmt.Errorf("%w (%d)", ErrAmbivalent, count)
			}
			if count > 1 {
				break
			}
			return nil
		}
		if !k.tolerant {
			intolerant++
		}
		if count == 1 {
			first = append(first, p.values...)
		}
	}
	p.wiped = false
	if count > 1 && intolerant > 0 {
		return fmt.Errorf("%w (%d)", ErrAmbivalent, count)
	}
	p.values = first
	return nil
}

// whole says whether the device is a disk rather than a partition.
func (p *probe) whole() bool { return p.opts.WholeDisk || p.opts.File }

// try looks for one format.
func (p *probe) try(k *kind) bool {
	m := p.magic(k)
	if m == nil && len(k.magics) > 0 {
		return false
	}
	if k.probe == nil {
		return true
	}
	var b []byte
	if k.size > 0 {
		if b = p.sb(m, k.size); b == nil {
			return false
		}
	}
	return k.probe(p, m, b)
}

// magic returns the first of the format's magics that is there.
func (p *probe) magic(k *kind) *magic {
	for i := range k.magics {
		m := &k.magics[i]
		at := p.start(m) + int64(m.off)
		// libblkid reads whole KiB: one that the end cuts off is not there.
		if m.end == 0 && at&^1023+1024 > p.size {
			continue
		}
		if p.holds(at, m.text) {
			return m
		}
	}
	return nil
}

// start is where the superblock begins that the magic is in.
func (p *probe) start(m *magic) int64 {
	switch {
	case m.end > 0:
		return (p.size/512 - int64(m.end)) * 512
	case m.session:
		return int64(m.kb)<<10 + p.opts.Session
	}
	return int64(m.kb) << 10
}

// sb returns the first n bytes of the superblock.
func (p *probe) sb(m *magic, n int) []byte { return p.buf(p.start(m), n) }

func (p *probe) set(key, value string) { p.values = append(p.values, Value{key, value}) }

func (p *probe) setf(key, format string, args ...any) { p.set(key, fmt.Sprintf(format, args...)) }

func (p *probe) version(v string) { p.set("VERSION", v) }

// dotted sets a version of two numbers.
func (p *probe) dotted(major, minor uint64) {
	p.version(strconv.FormatUint(major, 10) + "." + strconv.FormatUint(minor, 10))
}

func (p *probe) number(key string, n uint64) { p.set(key, strconv.FormatUint(n, 10)) }

func (p *probe) blockSize(n uint64) { p.number("BLOCK_SIZE", n) }

// label sets a name that ends at a NUL or at the end of b, without white space behind.
func (p *probe) label(b []byte) bool { return p.text("LABEL", trimRight(cString(b))) }

// id sets a text without white space around it.
func (p *probe) id(key string, b []byte) bool { return p.text(key, trim(cString(b))) }

func (p *probe) text(key, value string) bool {
	if value == "" {
		return false
	}
	p.set(key, value)
	return true
}

// uuid sets a UUID of 16 bytes in its usual form, unless it is all zeros.
func (p *probe) uuid(b []byte) { p.uuidAs("UUID", b) }

func (p *probe) uuidAs(key string, b []byte) {
	if !isZero(b[:16]) {
		p.set(key, formatUUID(b))
	}
}

// uuidf sets a UUID of another form, unless raw is all zeros.
func (p *probe) uuidf(raw []byte, format string, args ...any) {
	if !isZero(raw) {
		p.setf("UUID", format, args...)
	}
}

// uuidText sets a UUID that is stored as text.
func (p *probe) uuidText(b []byte) bool {
	if len(b) == 0 || b[0] == 0 {
		return false
	}
	return p.text("UUID", trimRight(cString(b)))
}

func (p *probe) lookup(key string) string {
	for _, v := range p.values {
		if v.Key == key {
			return v.Value
		}
	}
	return ""
}
