package modload

import (
	"bytes"
	"errors"
	"hash/maphash"
	"iter"
)

// A Symbol is a name that a module exports or needs.
type Symbol struct {
	Name string
	CRC  uint64 // of its type, for CONFIG_MODVERSIONS; 0 when unknown
	Weak bool   // needed, but the module loads without it
}

const (
	sectionUndefined = 0      // SHN_UNDEF
	sectionAbsolute  = 0xfff1 // SHN_ABS
	bindWeak         = 2      // STB_WEAK
	typeRegister     = 13     // STT_SPARC_REGISTER: not a need, gcc's note of a register in use

	machineSPARC   = 2
	machineSPARCv9 = 43

	versionSize = 64 // one entry of __versions: an address-sized CRC, then the name
)

var errSymbolTable = errors.New("symbol table is damaged")

// elfSymbol is one entry of .symtab.
type elfSymbol struct {
	value   uint64
	section uint16
	info    byte
}

// symbolTable is .symtab with its strings, read but not yet parsed.
type symbolTable struct {
	m       *Module
	entries []byte
	strings []byte
	entry   int
}

func (m *Module) symbols() (symbolTable, error) {
	t := symbolTable{m: m, entry: 16}
	if m.wide {
		t.entry = 24
	}
	var err error
	if t.strings, err = m.Section(".strtab"); err != nil {
		return t, err
	}
	if t.entries, err = m.Section(".symtab"); err != nil {
		return t, err
	}
	if len(t.entries)%t.entry != 0 {
		return t, errSymbolTable
	}
	return t, nil
}

func (t *symbolTable) len() int { return len(t.entries) / t.entry }

// at reads entry i, and the strings from its name on; nil when the name lies outside.
func (t *symbolTable) at(i int) (s elfSymbol, name []byte) {
	b := t.entries[i*t.entry : (i+1)*t.entry]
	at := t.m.u32(b)
	if t.m.wide {
		s.info, s.section, s.value = b[4], t.m.u16(b[6:]), t.m.word(b[8:])
	} else {
		s.value, s.info, s.section = t.m.word(b[4:]), b[12], t.m.u16(b[14:])
	}
	if uint64(at) >= uint64(len(t.strings)) {
		return s, nil
	}
	return s, t.strings[at:]
}

// Exports lists what the module offers to others: the symbols with a CRC where the kernel has CONFIG_MODVERSIONS, else the names in
// __ksymtab_strings.
func (m *Module) Exports() ([]Symbol, error) {
	var syms []Symbol
	err := m.scan(func(name []byte, s elfSymbol) {
		syms = append(syms, Symbol{Name: string(name), CRC: m.crc(s)})
	}, nil)
	if err != nil || len(syms) == 0 {
		syms = nil
		err = m.exportedNames(func(name []byte) { syms = append(syms, Symbol{Name: string(name)}) })
	}
	return syms, err
}

// exportedNames calls yield for each name in __ksymtab_strings. A module that exports nothing is no error.
func (m *Module) exportedNames(yield func(name []byte)) error {
	b, err := m.Section("__ksymtab_strings")
	if errors.Is(err, errNoSection) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range zeroTerminated(b) {
		yield(name)
	}
	return nil
}

// scan walks the symbol table once and calls export for each symbol that carries the CRC of an exported one, with that one's name, and
// need for each that is undefined, in the table's order. Either may be nil. After an error, what was yielded before must be forgotten.
func (m *Module) scan(export func(name []byte, s elfSymbol), need func(name []byte, weak bool)) error {
	t, err := m.symbols()
	if err != nil {
		return err
	}
	sparc := m.machine == machineSPARC || m.machine == machineSPARCv9
	for i := 1; i < t.len(); i++ {
		s, name := t.at(i)
		if name == nil {
			return errSymbolTable
		}
		// Most symbols are neither; that is found out without looking for the name's end.
		exports := export != nil && name[0] == '_' && bytes.HasPrefix(name, []byte("__crc_"))
		needs := need != nil && s.section == sectionUndefined && name[0] != 0 && !(sparc && s.info&0xf == typeRegister)
		if !exports && !needs {
			continue
		}
		name, ok := cString(name)
		if !ok {
			return errSymbolTable
		}
		if exports {
			export(name[len("__crc_"):], s)
		}
		if needs {
			need(name, s.info>>4 == bindWeak)
		}
	}
	return nil
}

// crc is the value of a __crc_ symbol: itself when absolute, else the four bytes it points at in its section.
func (m *Module) crc(s elfSymbol) uint64 {
	const broken = ^uint64(0)
	if s.section == sectionAbsolute || s.section == sectionUndefined {
		return s.value
	}
	if int(s.section) >= len(m.sections) {
		return broken
	}
	in := m.sections[s.section]
	if in.size < 4 || s.value > in.size-4 || in.offset > uint64(m.size) {
		return broken
	}
	b, err := m.at(in.offset+s.value, 4)
	if err != nil {
		return broken
	}
	return uint64(m.u32(b))
}

// Needs lists what the module wants from the kernel and from other modules: its undefined symbols in the order of its symbol table, then
// the rest of __versions (module_layout).
func (m *Module) Needs() ([]Symbol, error) {
	var syms []Symbol
	var index versionIndex
	versions, err := m.versions()
	if err != nil {
		return nil, err
	}
	index.reset(versions)
	err = m.scan(nil, func(name []byte, weak bool) {
		syms = append(syms, Symbol{Name: string(name), CRC: index.take(name), Weak: weak})
	})
	if err != nil {
		return nil, err
	}
	for v := range index.left() {
		syms = append(syms, Symbol{Name: string(v.name), CRC: v.crc})
	}
	return syms, nil
}

type version struct {
	name []byte
	crc  uint64
}

// Versions lists the section __versions: every symbol that the module was built against, with its CRC.
func (m *Module) Versions() ([]Symbol, error) {
	vs, err := m.versions()
	syms := make([]Symbol, len(vs))
	for i, v := range vs {
		syms[i] = Symbol{Name: string(v.name), CRC: v.crc}
	}
	return syms, err
}

func (m *Module) versions() ([]version, error) {
	b, err := m.Section("__versions")
	if errors.Is(err, errNoSection) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(b)%versionSize != 0 {
		return nil, nil // not the layout we know: as if it were not there
	}
	word := 4
	if m.wide {
		word = 8
	}
	vs := make([]version, 0, len(b)/versionSize)
	for ; len(b) > 0; b = b[versionSize:] {
		name, ok := cString(b[word:versionSize])
		if !ok {
			name = b[word:versionSize]
		}
		vs = append(vs, version{name, m.word(b)})
	}
	return vs, nil
}

// versionIndex finds an entry of __versions by its name. It is a hash table whose memory is kept from module to module: a module has a
// few hundred, and four thousand modules are read in one go.
type versionIndex struct {
	seed     maphash.Seed
	seeded   bool
	versions []version
	slots    []int32 // index + 1
	taken    []bool
}

func (x *versionIndex) reset(versions []version) {
	if !x.seeded {
		x.seed, x.seeded = maphash.MakeSeed(), true
	}
	x.versions = versions
	size := 16
	for size < 2*len(versions) {
		size *= 2
	}
	if size > cap(x.slots) {
		x.slots = make([]int32, size)
	}
	x.slots = x.slots[:size]
	clear(x.slots)
	if len(versions) > cap(x.taken) {
		x.taken = make([]bool, len(versions), size)
	}
	x.taken = x.taken[:len(versions)]
	clear(x.taken)
	for i, v := range versions {
		at := x.slot(v.name)
		if x.slots[at] == 0 { // the first of two entries counts
			x.slots[at] = int32(i + 1)
		}
	}
}

// slot is where name is, or would be.
func (x *versionIndex) slot(name []byte) int {
	mask := len(x.slots) - 1
	at := int(maphash.Bytes(x.seed, name)) & mask
	for x.slots[at] != 0 && !bytes.Equal(x.versions[x.slots[at]-1].name, name) {
		at = (at + 1) & mask
	}
	return at
}

// take marks name's entry as used and returns its CRC, 0 when there is none.
func (x *versionIndex) take(name []byte) uint64 {
	i := x.slots[x.slot(name)]
	if i == 0 {
		return 0
	}
	x.taken[i-1] = true
	return x.versions[i-1].crc
}

// left yields the entries that nobody has taken.
func (x *versionIndex) left() iter.Seq[version] {
	return func(yield func(version) bool) {
		for i, taken := range x.taken {
			if !taken && !yield(x.versions[i]) {
				return
			}
		}
	}
}
