// Package hwdb reads and writes udev's hardware database: a trie of modalias patterns with properties, in one file
// that is mapped and searched in place.
//
// [DB] is one such file, [File] the one that a system uses now, reopened when it changes; [Compile] makes one from
// hwdb.d. Format: systemd, hwdb(7) and hwdb-internal.h: "KSLPHHRH", all numbers little-endian.
package hwdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

const (
	signature  = "KSLPHHRH"
	headerSize = 80
	nodeSize   = 24
	childSize  = 16
	valueSize1 = 16 // without the source's name and line
	valueSize2 = 32
	// maxKey bounds a pattern, as a line is bounded in the sources.
	maxKey = 2048
)

// ErrDamaged is what a look-up in a file that contradicts itself returns, beside what it found up to there.
var ErrDamaged = errors.New("hwdb.bin is damaged")

// DB is a compiled database. It may be used by any number of goroutines.
type DB struct {
	data      []byte
	nodeSize  uint64
	childSize uint64
	valueSize uint64
	root      uint64
	budget    int // how many nodes there can be: a look-up visits none twice
	version   uint64
}

// Parse reads the header of a database in memory. The DB keeps data, which must not change.
func Parse(data []byte) (*DB, error) {
	if len(data) < headerSize {
		return nil, fmt.Errorf("%d bytes are too few for a header", len(data))
	}
	if string(data[:8]) != signature {
		return nil, errors.New("not a hardware database")
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(data[8*i:]) }
	if word(2) != uint64(len(data)) {
		return nil, fmt.Errorf("header says %d bytes, the file has %d", word(2), len(data))
	}
	db := &DB{data: data, version: word(1), nodeSize: word(4), childSize: word(5), valueSize: word(6), root: word(7)}
	if db.nodeSize < nodeSize || db.childSize < childSize || db.valueSize < valueSize1 ||
		db.nodeSize > 1<<16 || db.childSize > 1<<16 || db.valueSize > 1<<16 {
		return nil, fmt.Errorf("entries of %d, %d and %d bytes make no sense", db.nodeSize, db.childSize, db.valueSize)
	}
	if !db.fits(db.root, db.nodeSize) {
		return nil, errors.New("the root lies beyond the end")
	}
	db.budget = len(data) / nodeSize
	return db, nil
}

// Open maps the file at path. The map is released when the DB is no longer referenced.
func Open(path string) (*DB, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return openFile(f)
}

func openFile(f *os.File) (*DB, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < headerSize || st.Size() > 1<<31 {
		return nil, fmt.Errorf("read %s: %d bytes are no hardware database", f.Name(), st.Size())
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, &fs.PathError{Op: "map", Path: f.Name(), Err: err}
	}
	db, err := Parse(data)
	if err != nil {
		unix.Munmap(data)
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	runtime.AddCleanup(db, func(data []byte) { unix.Munmap(data) }, data)
	return db, nil
}

// Version returns the version of the tool that made the file.
func (db *DB) Version() uint64 { return db.version }

func (db *DB) fits(off, size uint64) bool {
	return off <= uint64(len(db.data)) && size <= uint64(len(db.data))-off
}

// word returns the number at off, which must fit.
func (db *DB) word(off uint64) uint64 { return binary.LittleEndian.Uint64(db.data[off:]) }

// text returns the string at off without its NUL.
func (db *DB) text(off uint64) ([]byte, bool) {
	if off >= uint64(len(db.data)) {
		return nil, false
	}
	end := bytes.IndexByte(db.data[off:], 0)
	if end < 0 {
		return nil, false
	}
	return db.data[off : off+uint64(end)], true
}

// Lookup calls yield for every property of every pattern that matches the modalias, each key once, until it returns
// false. Of a key that several patterns set, the one of the later file counts, and in a file the later line. The order
// is that in which the keys were found.
func (db *DB) Lookup(modalias string, yield func(key, value string) bool) (err error) {
	s := search{db: db, text: modalias, budget: db.budget}
	s.found = s.room[:0]
	if err := s.guarded(); err != nil {
		return err
	}
	defer runtime.KeepAlive(db)
	defer db.guard(&err)()
	for _, e := range s.found {
		key, ok1 := db.text(db.word(e) + 1)
		value, ok2 := db.text(db.word(e + 8))
		if !ok1 || !ok2 {
			return ErrDamaged
		}
		if !yield(string(key), string(value)) {
			break
		}
	}
	return nil
}

// guard turns a fault in the mapped file (someone cut it short in place) into ErrDamaged.
func (db *DB) guard(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			if _, ok := r.(interface{ Addr() uintptr }); !ok {
				panic(r)
			}
			*err = ErrDamaged
		}
	}
}

// search is one look-up.
type search struct {
	db      *DB
	text    string
	budget  int
	found   []uint64 // offsets of value entries, one a key
	room    [32]uint64
	pattern [maxKey]byte // the way to the node
	length  int
}

func (s *search) guarded() (err error) {
	defer s.db.guard(&err)()
	return s.run()
}

type node struct {
	off      uint64
	prefix   []byte
	children uint64
	values   uint64
}

func (s *search) node(off uint64) (node, bool) {
	db := s.db
	if s.budget--; s.budget < 0 || !db.fits(off, db.nodeSize) {
		return node{}, false
	}
	n := node{off: off, children: uint64(db.data[off+8]), values: db.word(off + 16)}
	if n.values > uint64(len(db.data)) || !db.fits(off, db.nodeSize+n.children*db.childSize+n.values*db.valueSize) {
		return node{}, false
	}
	if at := db.word(off); at != 0 {
		var ok bool
		if n.prefix, ok = db.text(at); !ok {
			return node{}, false
		}
	}
	return n, true
}

// child returns the offset of the child for the character, 0 when there is none.
func (s *search) child(n *node, c byte) uint64 {
	base := n.off + s.db.nodeSize
	lo, hi := uint64(0), n.children
	for lo < hi {
		mid := (lo + hi) / 2
		at := base + mid*s.db.childSize
		switch have := s.db.data[at]; {
		case have == c:
			return s.db.word(at + 8)
		case have < c:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0
}

func (s *search) run() error {
	off := s.db.root
	for i := 0; ; i++ {
		n, ok := s.node(off)
		if !ok {
			return ErrDamaged
		}
		for p, c := range n.prefix {
			if c == '*' || c == '?' || c == '[' {
				return s.glob(&n, p, s.text[i+p:])
			}
			if i+p >= len(s.text) || c != s.text[i+p] {
				return nil
			}
		}
		i += len(n.prefix)
		for _, c := range [...]byte{'*', '?', '['} {
			at := s.child(&n, c)
			if at == 0 {
				continue
			}
			child, ok := s.node(at)
			if !ok {
				return ErrDamaged
			}
			s.pattern[0], s.length = c, 1
			if err := s.glob(&child, 0, s.text[i:]); err != nil {
				return err
			}
			s.length = 0
		}
		if i == len(s.text) {
			return s.take(&n)
		}
		if off = s.child(&n, s.text[i]); off == 0 {
			return nil
		}
	}
}

// glob compares every pattern below the node, from its prefix's p-th character on, with the rest of the text.
func (s *search) glob(n *node, p int, text string) error {
	start := s.length
	if start+len(n.prefix)-p+1 >= maxKey {
		return ErrDamaged
	}
	s.length += copy(s.pattern[start:], n.prefix[p:])
	// What stands before the first special character must be the text's beginning, else nothing below can match.
	if possible(s.pattern[:s.length], text) {
		base := n.off + s.db.nodeSize
		for i := range n.children {
			at := base + i*s.db.childSize
			child, ok := s.node(s.db.word(at + 8))
			if !ok {
				return ErrDamaged
			}
			s.pattern[s.length] = s.db.data[at]
			s.length++
			if err := s.glob(&child, 0, text); err != nil {
				return err
			}
			s.length--
		}
		if n.values > 0 && Match(s.pattern[:s.length], text) {
			if err := s.take(n); err != nil {
				return err
			}
		}
	}
	s.length = start
	return nil
}

// take collects the values of a node that matches.
func (s *search) take(n *node) error {
	db := s.db
	base := n.off + db.nodeSize + n.children*db.childSize
	for i := range n.values {
		at := base + i*db.valueSize
		key, ok := db.text(db.word(at))
		if !ok {
			return ErrDamaged
		}
		if len(key) == 0 || key[0] != ' ' {
			continue // of a later format
		}
		known := false
		for j, old := range s.found {
			have, _ := db.text(db.word(old))
			if bytes.Equal(have, key) {
				known = true
				if db.valueSize < valueSize2 || !db.lower(at, old) {
					s.found[j] = at
				}
				break
			}
		}
		if !known {
			s.found = append(s.found, at)
		}
	}
	return nil
}

// lower says whether the value entry at a has less to say than that at b: it comes from an earlier file or line.
func (db *DB) lower(a, b uint64) bool {
	line := func(o uint64) uint32 { return binary.LittleEndian.Uint32(db.data[o+24:]) }
	file := func(o uint64) uint64 { return uint64(binary.LittleEndian.Uint16(db.data[o+28:])) }
	if file(a) == 0 { // older files have no priority: the name's place stands for it
		file = func(o uint64) uint64 { return db.word(o + 16) }
	}
	if file(a) != file(b) {
		return file(a) < file(b)
	}
	return line(a) < line(b)
}
