// Package modloadtest helps to test what is built on modload: modules made on the spot, and a kernel that is not one.
package modloadtest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Module describes a module's file to be made: a relocatable ELF file with everything that depmod, modinfo and a loader read, and no
// code. No kernel accepts it.
type Module struct {
	Name     string   // the .modinfo line name=
	Vermagic string   // "6.1.0-test SMP preempt mod_unload modversions " when empty
	Info     []string // further lines of .modinfo, "key=value", in this order: alias=, softdep=, parm=, firmware= …
	Exports  []string // symbols that others may need
	Needs    []string // undefined symbols; the CRCs agree with those of Exports
	Weak     []string // undefined, and may stay so

	BigEndian bool
	Bits32    bool
	NoCRC     bool // as built without CONFIG_MODVERSIONS: no __crc_ symbols, no __versions
	Machine   uint16
	Signer    string // appends a signature of the old, self-contained layout by this name
}

// Vermagic is what a Module says by default.
const Vermagic = "6.1.0-test SMP preempt mod_unload modversions "

// WriteModule writes m to path, making its directory. The path's extension decides the compression: .ko, .ko.gz or .ko.zst.
func WriteModule(path string, m Module) error {
	if m.Name == "" {
		base, _, _ := strings.Cut(filepath.Base(path), ".")
		m.Name = strings.ReplaceAll(base, "-", "_")
	}
	image := m.Image()
	var file bytes.Buffer
	switch filepath.Ext(path) {
	case ".ko":
		file.Write(image)
	case ".gz":
		w := gzip.NewWriter(&file)
		w.Write(image)
		w.Close()
	case ".zst":
		w, err := zstd.NewWriter(&file, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		w.Write(image)
		w.Close()
	default:
		return fmt.Errorf("write %s: unknown extension", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, file.Bytes(), 0o644)
}

// CRC is the checksum that the made modules give to a symbol.
func CRC(symbol string) uint32 { return crc32.ChecksumIEEE([]byte(symbol)) }

type elfSection struct {
	name string
	kind uint32
	data []byte
	link uint32
	size uint64 // of an entry
}

// Image is the module's file as bytes, not compressed.
func (m Module) Image() []byte {
	var order binary.AppendByteOrder = binary.LittleEndian
	if m.BigEndian {
		order = binary.BigEndian
	}
	word := func(b []byte, v uint64) []byte {
		if m.Bits32 {
			return order.AppendUint32(b, uint32(v))
		}
		return order.AppendUint64(b, v)
	}

	var info []byte
	line := func(s string) { info = append(append(info, s...), 0) }
	for _, s := range m.Info {
		line(s)
	}
	line("name=" + m.Name)
	if m.Vermagic == "" {
		m.Vermagic = Vermagic
	}
	line("vermagic=" + m.Vermagic)

	strtab := []byte{0}
	symtab := make([]byte, 24)
	if m.Bits32 {
		symtab = symtab[:16]
	}
	symbol := func(name string, bind byte, section uint16, value uint64) {
		at := uint32(len(strtab))
		strtab = append(append(strtab, name...), 0)
		symtab = order.AppendUint32(symtab, at)
		if m.Bits32 {
			symtab = order.AppendUint32(symtab, uint32(value))
			symtab = order.AppendUint32(symtab, 0)
			symtab = append(symtab, bind<<4, 0)
			symtab = order.AppendUint16(symtab, section)
			return
		}
		symtab = append(symtab, bind<<4, 0)
		symtab = order.AppendUint16(symtab, section)
		symtab = order.AppendUint64(symtab, value)
		symtab = order.AppendUint64(symtab, 0)
	}
	const absolute, global, weak = 0xfff1, 1, 2
	var ksymtab, versions []byte
	for _, s := range m.Exports {
		ksymtab = append(append(ksymtab, s...), 0)
		symbol(s, global, absolute, 0)
		if !m.NoCRC {
			symbol("__crc_"+s, global, absolute, uint64(CRC(s)))
		}
	}
	version := func(s string) {
		at := len(versions)
		versions = append(word(versions, uint64(CRC(s))), s...)
		versions = append(versions, make([]byte, 64-(len(versions)-at))...)
	}
	version("module_layout")
	for _, s := range m.Needs {
		symbol(s, global, 0, 0)
		version(s)
	}
	for _, s := range m.Weak {
		symbol(s, weak, 0, 0)
	}

	entry := uint64(24)
	if m.Bits32 {
		entry = 16
	}
	sections := []elfSection{{}, {name: ".modinfo", kind: 1, data: info}}
	if ksymtab != nil {
		sections = append(sections, elfSection{name: "__ksymtab_strings", kind: 1, data: ksymtab})
	}
	if !m.NoCRC {
		sections = append(sections, elfSection{name: "__versions", kind: 1, data: versions})
	}
	sections = append(sections,
		elfSection{name: ".gnu.linkonce.this_module", kind: 1, data: make([]byte, 64)},
		elfSection{name: ".symtab", kind: 2, data: symtab, link: uint32(len(sections) + 2), size: entry},
		elfSection{name: ".strtab", kind: 3, data: strtab})
	names := []byte{0}
	sections = append(sections, elfSection{name: ".shstrtab", kind: 3})
	offsets := make([]uint32, len(sections))
	for i, s := range sections[1:] {
		offsets[i+1] = uint32(len(names))
		names = append(append(names, s.name...), 0)
	}
	sections[len(sections)-1].data = names

	headSize, tableEntry := 64, 64
	if m.Bits32 {
		headSize, tableEntry = 52, 40
	}
	body := make([]byte, headSize)
	var table []byte
	for i, s := range sections {
		for len(body)%8 != 0 {
			body = append(body, 0)
		}
		at := uint64(len(body))
		body = append(body, s.data...)
		if i == 0 {
			table = make([]byte, tableEntry)
			continue
		}
		table = order.AppendUint32(table, offsets[i])
		table = order.AppendUint32(table, s.kind)
		table = word(table, 0)
		table = word(table, 0)
		table = word(table, at)
		table = word(table, uint64(len(s.data)))
		table = order.AppendUint32(table, s.link)
		table = order.AppendUint32(table, 0)
		table = word(table, 8)
		table = word(table, s.size)
	}
	for len(body)%8 != 0 {
		body = append(body, 0)
	}

	class, data := byte(2), byte(1)
	if m.Bits32 {
		class = 1
	}
	if m.BigEndian {
		data = 2
	}
	if m.Machine == 0 {
		m.Machine = 62 // x86-64
	}
	head := append([]byte{0x7f, 'E', 'L', 'F', class, data, 1}, make([]byte, 9)...)
	head = order.AppendUint16(head, 1) // relocatable
	head = order.AppendUint16(head, m.Machine)
	head = order.AppendUint32(head, 1)
	head = word(head, 0)
	head = word(head, 0)
	head = word(head, uint64(len(body)))
	head = order.AppendUint32(head, 0)
	head = order.AppendUint16(head, uint16(headSize))
	head = order.AppendUint16(head, 0)
	head = order.AppendUint16(head, 0)
	head = order.AppendUint16(head, uint16(tableEntry))
	head = order.AppendUint16(head, uint16(len(sections)))
	head = order.AppendUint16(head, uint16(len(sections)-1))
	copy(body, head)

	image := append(body, table...)
	if m.Signer != "" {
		key, signature := []byte{0xde, 0xad, 0xbe, 0xef}, bytes.Repeat([]byte{0x5a}, 32)
		image = append(image, m.Signer...)
		image = append(image, key...)
		image = append(image, signature...)
		image = append(image, 1, 4, 1, byte(len(m.Signer)), byte(len(key)), 0, 0, 0) // RSA, sha256, X509
		image = binary.BigEndian.AppendUint32(image, uint32(len(signature)))
		image = append(image, "~Module signature appended~\n"...)
	}
	return image
}
