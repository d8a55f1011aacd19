package modload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Module is a module's file, open for reading: what it says of itself (.modinfo), what it exports and what it needs. A plain file is
// read section by section as they are asked for; a compressed one is decompressed into memory at once. Both byte orders and both
// word sizes are understood, whatever this machine's are.
//
// A Module may be used by one goroutine at a time. What its methods return stays valid after Close.
//
// Format: elf(5); the sections are those of the kernel's scripts/mod/modpost.c and include/linux/export.h.
type Module struct {
	fd          int    // -1 when the image is in memory
	image       []byte // the whole file; nil when it is read by section
	window      []byte // a part of the file that was read ahead
	windowAt    uint64
	arena       *arena // where sections are read to; nil: each to memory of its own
	size        int64
	compression Compression

	big      bool // most significant byte first
	wide     bool // 64 bits
	machine  uint16
	sections []section
	names    []byte // section names
}

type section struct {
	name         uint32 // offset into names
	offset, size uint64
}

var (
	errNotELF  = errors.New("not an ELF file")
	errNoTable = errors.New("section table is damaged")
)

// OpenModule opens the module in the named file, compressed or not.
func OpenModule(path string) (*Module, error) { return openModule(path, nil) }

// openModule is OpenModule for a caller that reads sections into an arena. It makes the system calls itself: an os.File asks the kernel
// six more questions, which is a third of the time that depmod needs for a module.
func openModule(path string, a *arena) (*Module, error) {
	fd, err := openRead(path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	m := &Module{fd: fd, arena: a}
	if err := m.open(path); err != nil {
		m.Close()
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return m, nil
}

func openRead(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (m *Module) open(path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(m.fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errNotELF // a FIFO would block
	}
	m.size = st.Size
	head, err := m.at(0, min(64, uint64(m.size)))
	if err != nil {
		return err
	}
	if detectCompression(head) != Uncompressed {
		f := os.NewFile(uintptr(m.fd), path)
		m.fd = -1
		defer f.Close()
		if m.image, m.compression, err = readImage(f, maxImage); err != nil {
			return err
		}
		m.size = int64(len(m.image))
	}
	return m.readTable()
}

// ParseModule reads a module from memory, as it would be handed to the kernel: decompressed.
func ParseModule(image []byte) (*Module, error) {
	m := &Module{fd: -1, image: image, size: int64(len(image))}
	if err := m.readTable(); err != nil {
		return nil, err
	}
	return m, nil
}

// An arena hands out memory that is all given back at once, for a reader of thousands of modules. A nil arena allocates.
type arena struct {
	block []byte
	used  int
}

func (a *arena) bytes(n int) []byte {
	if a == nil {
		return make([]byte, n)
	}
	if len(a.block)-a.used < n {
		a.block, a.used = make([]byte, max(2*len(a.block), n, 64<<10)), 0
	}
	b := a.block[a.used : a.used+n : a.used+n]
	a.used += n
	return b
}

// reset takes back everything that was handed out.
func (a *arena) reset() { a.used = 0 }

// Close releases the file.
func (m *Module) Close() error {
	if m.fd < 0 {
		return nil
	}
	fd := m.fd
	m.fd = -1
	return unix.Close(fd)
}

// Compression is the format in which the file was found.
func (m *Module) Compression() Compression { return m.compression }

// at returns size bytes at an offset of the file. Every access to the file goes through here.
func (m *Module) at(offset, size uint64) ([]byte, error) {
	if size > uint64(m.size) || offset > uint64(m.size)-size {
		return nil, io.ErrUnexpectedEOF
	}
	if m.image != nil {
		return m.image[offset : offset+size : offset+size], nil
	}
	if at := offset - m.windowAt; offset >= m.windowAt && at <= uint64(len(m.window)) && size <= uint64(len(m.window))-at {
		return m.window[at : at+size : at+size], nil
	}
	if size > maxImage {
		return nil, errImageTooLarge
	}
	b := m.arena.bytes(int(size))
	for done := 0; done < len(b); {
		n, err := unix.Pread(m.fd, b[done:], int64(offset)+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n == 0:
			return nil, io.ErrUnexpectedEOF
		default:
			done += n
		}
	}
	return b, nil
}

// readAhead reads a part of the file that the next accesses are likely to want. What cannot be read is read when it is asked for.
func (m *Module) readAhead(from, to uint64) {
	if m.image != nil || from >= to || to > uint64(m.size) {
		return
	}
	if b, err := m.at(from, to-from); err == nil {
		m.window, m.windowAt = b, from
	}
}

func (m *Module) u16(b []byte) uint16 {
	if m.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (m *Module) u32(b []byte) uint32 {
	if m.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// word reads an address-sized number: 4 or 8 bytes.
func (m *Module) word(b []byte) uint64 {
	switch {
	case !m.wide:
		return uint64(m.u32(b))
	case m.big:
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// readTable reads the ELF header and the section table, and checks that the table lies within the file.
func (m *Module) readTable() error {
	if m.size == 0 {
		return fmt.Errorf("%w: it is empty", errNotELF)
	}
	head, err := m.at(0, min(64, uint64(m.size)))
	if err != nil {
		return err
	}
	if len(head) < 52 || string(head[:4]) != "\x7fELF" {
		return errNotELF
	}
	class, order := head[4], head[5]
	if class < 1 || class > 2 || order < 1 || order > 2 {
		return fmt.Errorf("%w: class %d, byte order %d", errNotELF, class, order)
	}
	m.wide, m.big = class == 2, order == 2
	if m.wide && len(head) < 64 {
		return errNotELF
	}
	m.machine = m.u16(head[18:])
	var table uint64
	var entry, count, namesIndex uint16
	want := uint16(40)
	if m.wide {
		table = m.word(head[40:])
		entry, count, namesIndex = m.u16(head[58:]), m.u16(head[60:]), m.u16(head[62:])
		want = 64
	} else {
		table = m.word(head[32:])
		entry, count, namesIndex = m.u16(head[46:]), m.u16(head[48:]), m.u16(head[50:])
	}
	if entry != want || namesIndex == 0 || namesIndex >= count {
		return errNoTable
	}
	// Linkers write the symbols, their names and the sections' names just before the table.
	const ahead = 16 << 10
	if end := table + uint64(entry)*uint64(count); table < uint64(m.size) {
		m.readAhead(table-min(table, ahead), end)
	}
	b, err := m.at(table, uint64(entry)*uint64(count))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoTable, err)
	}
	m.sections = make([]section, count)
	for i := range m.sections {
		h := b[i*int(entry):]
		s := section{name: m.u32(h)}
		if m.wide {
			s.offset, s.size = m.word(h[24:]), m.word(h[32:])
		} else {
			s.offset, s.size = m.word(h[16:]), m.word(h[20:])
		}
		m.sections[i] = s
	}
	names := m.sections[namesIndex]
	if m.names, err = m.at(names.offset, names.size); err != nil || len(m.names) == 0 || m.names[len(m.names)-1] != 0 {
		return fmt.Errorf("%w: no section names", errNoTable)
	}
	return nil
}

// find is the first section of that name that lies within the file.
func (m *Module) find(name string) (section, bool) {
	for _, s := range m.sections[1:] {
		if uint64(s.name) >= uint64(len(m.names)) || s.size > uint64(m.size) || s.offset > uint64(m.size)-s.size {
			continue
		}
		n := m.names[s.name:]
		if len(n) > len(name) && n[len(name)] == 0 && string(n[:len(name)]) == name {
			return s, true
		}
	}
	return section{}, false
}

// errNoSection is the cause when a module lacks a section that was asked for.
var errNoSection = errors.New("no such section")

// Section returns the bytes of the first section of that name.
func (m *Module) Section(name string) ([]byte, error) {
	s, ok := m.find(name)
	if !ok {
		return nil, fmt.Errorf("section %s: %w", name, errNoSection)
	}
	b, err := m.at(s.offset, s.size)
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", name, err)
	}
	return b, nil
}

// Info is what a module says of itself, in the order of its file: the lines "key=value" of its section .modinfo.
type Info struct{ raw []byte }

// Info reads the section .modinfo. A module without one has no lines.
func (m *Module) Info() (Info, error) {
	b, err := m.Section(".modinfo")
	if errors.Is(err, errNoSection) {
		return Info{}, nil
	}
	return Info{b}, err
}

// All yields every key with its value, in the file's order. A line without an equals sign is a key with an empty value.
func (i Info) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for line := range zeroTerminated(i.raw) {
			s := string(line)
			key, value, ok := strings.Cut(s, "=")
			if !ok {
				value = s[:0]
			}
			if !yield(key, value) {
				return
			}
		}
	}
}

// Values yields the values of one key, in the file's order. It allocates nothing but them.
func (i Info) Values(key string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range zeroTerminated(i.raw) {
			if len(line) > len(key) && line[len(key)] == '=' && string(line[:len(key)]) == key {
				if !yield(string(line[len(key)+1:])) {
					return
				}
			}
		}
	}
}

// Get is the first value of a key, or "".
func (i Info) Get(key string) string {
	for v := range i.Values(key) {
		return v
	}
	return ""
}

// zeroTerminated yields the non-empty strings of a section, each ended by a NUL or by the section's end.
func zeroTerminated(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			line := b
			if n := bytes.IndexByte(b, 0); n >= 0 {
				line, b = b[:n], b[n+1:]
			} else {
				b = nil
			}
			if len(line) > 0 && !yield(line) {
				return
			}
		}
	}
}

// cString is the string at the beginning of b, without its NUL; false when there is none.
func cString(b []byte) ([]byte, bool) {
	n := bytes.IndexByte(b, 0)
	if n < 0 {
		return nil, false
	}
	return b[:n], true
}
