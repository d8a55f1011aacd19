package modload

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// depReader reads modules, one after another, into numbers: each symbol's name is kept once.
type depReader struct {
	log      Logger
	prefix   byte
	checks   bool // CRCs are wanted
	sections arena
	versions versionIndex
	numbers  map[string]uint32
	names    []string
	uses     []symbolUse // memory for the modules' lists
	lines    []byte
	done     []*depModule // what this reader has read
}

func (r *depReader) number(name []byte) uint32 {
	if n, ok := r.numbers[string(name)]; ok {
		return n
	}
	if r.numbers == nil {
		r.numbers = make(map[string]uint32, 4096)
	}
	s := string(name)
	n := uint32(len(r.names))
	r.numbers[s] = n
	r.names = append(r.names, s)
	return n
}

// strip removes the architecture's prefix from a symbol.
func (r *depReader) strip(name []byte) []byte {
	if r.prefix != 0 && len(name) > 0 && name[0] == r.prefix {
		return name[1:]
	}
	return name
}

// read reads one module; what is wrong with it is logged.
func (r *depReader) read(m *depModule) {
	r.sections.reset()
	f, err := openModule(m.path, &r.sections)
	if err != nil {
		r.log.Error(fmt.Sprintf("failed to load symbols from %s: %v", m.path, err))
		return
	}
	defer f.Close()
	m.read = true
	r.done = append(r.done, m)

	start := len(r.uses)
	err = f.scan(func(name []byte, s elfSymbol) {
		u := symbolUse{id: r.number(r.strip(name))}
		if r.checks {
			u.setCRC(f.crc(s))
		}
		r.uses = append(r.uses, u)
	}, nil)
	if err != nil || len(r.uses) == start {
		r.uses = r.uses[:start]
		err = f.exportedNames(func(name []byte) { r.uses = append(r.uses, symbolUse{id: r.number(r.strip(name))}) })
	}
	middle := len(r.uses)
	if err == nil {
		err = r.needs(f)
	}
	if err != nil && !errors.Is(err, errNoSection) {
		r.log.Error(fmt.Sprintf("failed to load symbols from %s: %v", m.path, err))
		r.uses = r.uses[:middle]
	}
	end := len(r.uses)
	m.exports, m.needs = r.uses[start:middle:middle], r.uses[middle:end:end]
	if cap(r.uses)-end < 4096 {
		r.uses = make([]symbolUse, 0, 64<<10)
	} else {
		r.uses = r.uses[:end]
	}

	info, err := f.Info()
	if err != nil {
		r.log.Error(fmt.Sprintf("failed to load info from %s: %v", m.path, err))
	}
	r.lines = r.lines[:0]
	for line := range zeroTerminated(info.raw) {
		for _, key := range [...]string{"alias=", "softdep=", "weakdep="} {
			if len(line) >= len(key) && string(line[:len(key)]) == key {
				r.lines = append(append(r.lines, line...), 0)
				break
			}
		}
	}
	m.info = string(r.lines)
}

// needs appends what a module needs to r.uses.
func (r *depReader) needs(f *Module) error {
	versions, err := f.versions()
	if err != nil {
		return err
	}
	r.versions.reset(versions)
	need := func(name []byte, crc uint64, weak bool) {
		if len(name) > 0 && name[0] == '.' { // ppc64: .symbol is symbol
			name = name[1:]
		}
		u := symbolUse{id: r.number(r.strip(name))}
		if weak {
			u.id |= weakUse
		}
		u.setCRC(crc)
		r.uses = append(r.uses, u)
	}
	if err := f.scan(nil, func(name []byte, weak bool) { need(name, r.versions.take(name), weak) }); err != nil {
		return err
	}
	for v := range r.versions.left() {
		need(v.name, v.crc, false)
	}
	return nil
}

func (u *symbolUse) setCRC(crc uint64) { u.crc, u.wide = uint32(crc), crc>>32 != 0 }

// values yields the values of one key in the module's lines.
func (m *depModule) values(key string, yield func(value string)) {
	for rest := m.info; rest != ""; {
		line, tail, _ := strings.Cut(rest, "\x00")
		rest = tail
		if len(line) > len(key) && line[len(key)] == '=' && line[:len(key)] == key {
			yield(line[len(key)+1:])
		}
	}
}

// symbolOwners is every symbol that occurs, by its number.
type symbolOwners struct {
	names   []string
	numbers map[string]uint32
	owner   []*depModule // nil: the kernel's own, when known
	crc     []symbolUse
	known   []bool
}

// adopt joins what the readers have numbered, each for itself, into one numbering.
func (s *symbolOwners) adopt(readers []*depReader, modules []*depModule) {
	s.names, s.numbers = readers[0].names, readers[0].numbers
	if s.numbers == nil {
		s.numbers = map[string]uint32{}
	}
	for _, r := range readers[1:] {
		renumber := make([]uint32, len(r.names))
		for i, name := range r.names {
			renumber[i] = s.number(name)
		}
		for _, m := range r.done {
			for _, uses := range [...][]symbolUse{m.exports, m.needs} {
				for i, u := range uses {
					uses[i].id = renumber[u.id&^weakUse] | u.id&weakUse
				}
			}
		}
		r.numbers, r.names = nil, nil
	}
}

func (s *symbolOwners) number(name string) uint32 {
	if n, ok := s.numbers[name]; ok {
		return n
	}
	n := uint32(len(s.names))
	s.numbers[name] = n
	s.names = append(s.names, name)
	return n
}

// grow makes room for every number given out so far.
func (s *symbolOwners) grow() {
	if n := len(s.names); n > len(s.known) {
		s.owner = append(s.owner, make([]*depModule, n-len(s.owner))...)
		s.crc = append(s.crc, make([]symbolUse, n-len(s.crc))...)
		s.known = append(s.known, make([]bool, n-len(s.known))...)
	}
}

// addKernel notes a symbol of the kernel's own.
func (s *symbolOwners) addKernel(name string, crc uint64) {
	id := s.number(name)
	s.grow()
	s.known[id], s.owner[id], s.crc[id] = true, nil, symbolUse{crc: uint32(crc), wide: crc>>32 != 0}
}

// readKernelSymbols reads Module.symvers or System.map, when one is asked for.
func (d *depmod) readKernelSymbols() error {
	d.symbols.grow()
	path, parse := d.Symvers, d.symvers
	if path == "" {
		if path, parse = d.SystemMap, d.systemMap; path == "" {
			return nil
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("could not load %s: %w", path, cause(err))
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if problem := parse(lines.Text()); problem != "" {
			d.Log.Error(fmt.Sprintf("%s:%d %s", path, n, problem))
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("could not load %s: %w", path, err)
	}
	// Made up by the kernel's loader: this module itself; on s390 and ppc64 the table of addresses.
	for _, name := range [...]string{"__this_module", "_GLOBAL_OFFSET_TABLE_", "TOC."} {
		d.symbols.addKernel(name, 0)
	}
	return nil
}

// symvers reads a line such as "0xb352177e\tfind_first_bit\tvmlinux\tEXPORT_SYMBOL".
func (d *depmod) symvers(line string) (problem string) {
	fields := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
	if len(fields) < 3 || fields[2] != "vmlinux" {
		return ""
	}
	digits := strings.TrimPrefix(strings.TrimPrefix(fields[0], "0x"), "0X")
	crc, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return "Invalid symbol version " + fields[0]
	}
	d.symbols.addKernel(d.unprefixed(fields[1]), crc)
	return ""
}

// systemMap reads a line such as "c0294200 R __ksymtab_devfs_alloc_devnum".
func (d *depmod) systemMap(line string) (problem string) {
	_, rest, ok1 := strings.Cut(line, " ")
	_, name, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 {
		return "invalid line: " + line
	}
	if name, ok := strings.CutPrefix(d.unprefixed(name), "__ksymtab_"); ok {
		d.symbols.addKernel(name, 0)
	}
	return ""
}

func (d *depmod) unprefixed(name string) string {
	if d.SymbolPrefix != 0 && name != "" && name[0] == d.SymbolPrefix {
		return name[1:]
	}
	return name
}

// resolve finds for every needed symbol the module that exports it. Of two exporters the later in the order counts.
func (d *depmod) resolve() {
	s := &d.symbols
	s.grow()
	for _, m := range d.modules {
		for _, u := range m.exports {
			s.owner[u.id], s.crc[u.id], s.known[u.id] = m, u, true
		}
	}
	seen := make([]int, len(d.modules)) // module's index + 1 of the last that listed it
	for _, m := range d.modules {
		for _, u := range m.needs {
			id, weak := u.id&^weakUse, u.id&weakUse != 0
			if !s.known[id] {
				if d.ReportUnresolved && !weak {
					d.Log.Warn(fmt.Sprintf("%s needs unknown symbol %s", m.path, s.names[id]))
				}
				continue
			}
			if have := s.crc[id]; d.Symvers != "" && d.ReportUnresolved && !weak && (have.crc != u.crc || have.wide || u.wide) {
				d.Log.Warn(fmt.Sprintf("%s disagrees about version of symbol %s", m.path, s.names[id]))
			}
			owner := s.owner[id]
			if owner == nil || seen[owner.index] == m.index+1 {
				continue
			}
			seen[owner.index] = m.index + 1
			m.deps = append(m.deps, owner)
			owner.users++
			if d.Verbose != nil {
				fmt.Fprintf(d.Verbose, "%s needs \"%s\": %s\n", m.path, s.names[id], owner.path)
			}
		}
	}
}

// hashText is the hash of kmod's tables: Paul Hsieh's SuperFastHash, see azillionmonkeys.com/qed/hash.html. Characters are signed.
func hashText(s string) uint32 {
	hash := uint32(len(s))
	pair := func(i int) uint32 { return uint32(s[i]) | uint32(s[i+1])<<8 }
	i := 0
	for ; len(s)-i >= 4; i += 4 {
		hash += pair(i)
		hash = hash<<16 ^ (pair(i+2)<<11 ^ hash)
		hash += hash >> 11
	}
	switch len(s) - i {
	case 3:
		hash += pair(i)
		hash ^= hash << 16
		hash ^= uint32(int32(int8(s[i+2]))) << 18
		hash += hash >> 11
	case 2:
		hash += pair(i)
		hash ^= hash << 11
		hash += hash >> 17
	case 1:
		hash += uint32(int32(int8(s[i])))
		hash ^= hash << 10
		hash += hash >> 1
	}
	hash ^= hash << 3
	hash += hash >> 5
	hash ^= hash << 4
	hash += hash >> 17
	hash ^= hash << 25
	hash += hash >> 6
	return hash
}

// sortAsHash brings items into the order in which kmod walks its hash table of that many buckets: by bucket, then by name. The lists that
// kmod writes straight from a table have no other order.
func sortAsHash[T any](items []T, buckets uint32, name func(T) string) {
	places, all := make([]hashed, len(items)), make([]*hashed, len(items))
	for i, item := range items {
		text := name(item)
		places[i] = hashed{hashText(text) & (buckets - 1), i, text}
		all[i] = &places[i]
	}
	slices.SortFunc(all, (*hashed).compare)
	from := slices.Clone(items)
	for i := range all {
		items[i] = from[all[i].at]
	}
}

// hashed is the place of one item that sortAsHash sorts. It is no generic type, and sorted by pointers: the program then holds one
// sort for all.
type hashed struct {
	bucket uint32
	at     int
	name   string
}

func (a *hashed) compare(b *hashed) int {
	if c := cmp.Compare(a.bucket, b.bucket); c != 0 {
		return c
	}
	return cmp.Compare(a.name, b.name)
}
