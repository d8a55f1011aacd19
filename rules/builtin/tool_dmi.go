package builtin

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// dmiMemoryID prints what the firmware says of the memory modules. Format: DMTF DSP0134, System Management BIOS.
func (t *Table) dmiMemoryID(ctx context.Context, call *Call, args []string, out io.Writer) error {
	dir := filepath.Join(call.Device.Roots().SysDir(), "firmware/dmi/tables")
	entry, err := readBounded(filepath.Join(dir, "smbios_entry_point"), 32)
	if err != nil {
		return err
	}
	length, count, err := dmiEntryPoint(entry)
	if err != nil {
		return err
	}
	table, err := readBounded(filepath.Join(dir, "DMI"), min(length, 1<<20))
	if err != nil {
		return err
	}
	d := dmi{}
	d.table(table, count)
	_, err = out.Write(d.Bytes())
	return err
}

// dmiEntryPoint reads the length of the table and the number of its structures, 0 when that is not known.
func dmiEntryPoint(b []byte) (length, count int, err error) {
	sum := func(b []byte) bool {
		s := byte(0)
		for _, c := range b {
			s += c
		}
		return s == 0
	}
	le := binary.LittleEndian
	switch {
	case len(b) >= 24 && string(b[:5]) == "_SM3_" && int(b[6]) <= len(b) && sum(b[:b[6]]):
		return int(min(le.Uint32(b[12:]), 1<<20)), 0, nil
	case len(b) >= 31 && string(b[:4]) == "_SM_" && int(b[5]) <= len(b) && sum(b[:b[5]]) && string(b[16:21]) == "_DMI_" && sum(b[16:31]):
		return int(le.Uint16(b[22:])), int(le.Uint16(b[28:])), nil
	case len(b) >= 15 && string(b[:5]) == "_DMI_" && sum(b[:15]):
		return int(le.Uint16(b[6:])), int(le.Uint16(b[12:])), nil
	}
	return 0, 0, errors.New("the firmware's entry point makes no sense")
}

// dmi prints structures. slot counts the memory devices.
type dmi struct {
	printer
	slot int
}

func (d *dmi) table(b []byte, count int) {
	for i := 0; (i < count || count == 0) && len(b) >= 4; i++ {
		kind, length := b[0], int(b[1])
		if length < 4 || kind == 127 || length > len(b) {
			break
		}
		end := bytes.Index(b[length:], []byte{0, 0})
		if end < 0 {
			break
		}
		end += length + 2
		switch kind {
		case 16:
			d.array(b[:length])
		case 17:
			d.device(b[:length], b[length:end])
		}
		b = b[end:]
	}
	if d.slot > 0 {
		d.line("MEMORY_ARRAY_NUM_DEVICES=%d", d.slot)
	}
}

const outOfSpec = "<OUT OF SPEC>"

// word returns the n-th word of a list, which begins at 1.
func dmiWord(list []string, n int) string {
	if n < 1 || n > len(list) || list[n-1] == "" {
		return outOfSpec
	}
	return list[n-1]
}

var dmiLocations = []string{"Other", "Unknown", "System Board Or Motherboard", "ISA Add-on Card", "EISA Add-on Card", "PCI Add-on Card",
	"MCA Add-on Card", "PCMCIA Add-on Card", "Proprietary Add-on Card", "NuBus"}

var dmiLocationsA0 = []string{"PC-98/C20 Add-on Card", "PC-98/C24 Add-on Card", "PC-98/E Add-on Card", "PC-98/Local Bus Add-on Card", "CXL Add-on Card"}

// array prints a physical memory array, 7.17.
func (d *dmi) array(b []byte) {
	if len(b) < 0x0f || b[5] != 3 {
		return
	}
	if b[4] >= 0xa0 {
		d.line("MEMORY_ARRAY_LOCATION=%s", dmiWord(dmiLocationsA0, int(b[4])-0x9f))
	} else {
		d.line("MEMORY_ARRAY_LOCATION=%s", dmiWord(dmiLocations, int(b[4])))
	}
	if b[6] != 3 {
		d.line("MEMORY_ARRAY_EC_TYPE=%s", dmiWord([]string{"Other", "Unknown", "None", "Parity", "Single-bit ECC", "Multi-bit ECC", "CRC"}, int(b[6])))
	}
	if c := binary.LittleEndian.Uint32(b[7:]); c != 0x80000000 {
		d.line("MEMORY_ARRAY_MAX_CAPACITY=%d", uint64(c)<<10)
	} else if len(b) >= 0x17 {
		d.line("MEMORY_ARRAY_MAX_CAPACITY=%d", binary.LittleEndian.Uint64(b[15:]))
	}
}

var dmiForms = []string{"Other", "Unknown", "SIMM", "SIP", "Chip", "DIP", "ZIP", "Proprietary Card", "DIMM", "TSOP", "Row Of Chips", "RIMM",
	"SODIMM", "SRIMM", "FB-DIMM", "Die"}

var dmiTypes = []string{"Other", "Unknown", "DRAM", "EDRAM", "VRAM", "SRAM", "RAM", "ROM", "Flash", "EEPROM", "FEPROM", "EPROM", "CDRAM",
	"3DRAM", "SDRAM", "SGRAM", "RDRAM", "DDR", "DDR2", "DDR2 FB-DIMM", "Reserved", "Reserved", "Reserved", "DDR3", "FBD2", "DDR4", "LPDDR",
	"LPDDR2", "LPDDR3", "LPDDR4", "Logical non-volatile device", "HBM", "HBM2", "DDR5", "LPDDR5", "HBM3"}

var dmiDetails = []string{"Other", "Unknown", "Fast-paged", "Static Column", "Pseudo-static", "RAMBUS", "Synchronous", "CMOS", "EDO",
	"Window DRAM", "Cache DRAM", "Non-Volatile", "Registered (Buffered)", "Unbuffered (Unregistered)", "LRDIMM"}

var dmiTechnologies = []string{"Other", "Unknown", "DRAM", "NVDIMM-N", "NVDIMM-F", "NVDIMM-P", "Intel Optane persistent memory"}

var dmiModes = []string{"Other", "Unknown", "Volatile memory", "Byte-accessible persistent memory", "Block-accessible persistent memory"}

// bitWords joins the words whose bits are set, the first one at bit 1.
func bitWords(list []string, bits uint16) string {
	var out []string
	for i, w := range list {
		if bits>>(i+1)&1 != 0 {
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

// device prints a memory device, 7.18, as far as the structure of its version goes.
func (d *dmi) device(b, texts []byte) {
	slot := d.slot
	d.slot++
	set := func(name, format string, args ...any) {
		d.line("MEMORY_DEVICE_%d_%s=%s", slot, name, fmt.Sprintf(format, args...))
	}
	word := func(at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
	number := func(name string, at int) {
		if v := word(at); v != 0 {
			set(name, "%d", v)
		}
	}
	str := func(name string, index byte) {
		if s := strings.TrimSpace(dmiString(texts, int(index))); s != "" {
			set(name, "%s", s)
		}
	}
	if len(b) < 0x15 {
		return
	}
	for name, at := range map[string]int{"TOTAL_WIDTH": 8, "DATA_WIDTH": 10} {
		if v := word(at); v != 0 && v != 0xffff {
			set(name, "%d", v)
		}
	}
	switch size := word(12); {
	case len(b) >= 0x20 && size == 0x7fff:
		set("SIZE", "%d", uint64(binary.LittleEndian.Uint32(b[28:]))<<20)
	case size == 0:
		set("PRESENT", "0")
	case size != 0xffff:
		bytes := uint64(size&0x7fff) << 10
		if size&0x8000 == 0 {
			bytes <<= 10
		}
		set("SIZE", "%d", bytes)
	}
	set("FORM_FACTOR", "%s", dmiWord(dmiForms, int(b[14])))
	if b[15] == 0xff {
		set("SET", "Unknown")
	} else if b[15] != 0 {
		set("SET", "%d", b[15])
	}
	str("LOCATOR", b[16])
	str("BANK_LOCATOR", b[17])
	set("TYPE", "%s", dmiWord(dmiTypes, int(b[18])))
	if detail := word(19); detail&0xfffe == 0 {
		set("TYPE_DETAIL", "None")
	} else {
		set("TYPE_DETAIL", "%s", bitWords(dmiDetails, detail))
	}
	if len(b) < 0x17 {
		return
	}
	number("SPEED_MTS", 21)
	if len(b) < 0x1b {
		return
	}
	str("MANUFACTURER", b[23])
	str("SERIAL_NUMBER", b[24])
	str("ASSET_TAG", b[25])
	str("PART_NUMBER", b[26])
	if len(b) < 0x1c {
		return
	}
	if rank := b[27] & 0xf; rank != 0 {
		set("RANK", "%d", rank)
	}
	if len(b) < 0x22 {
		return
	}
	number("CONFIGURED_SPEED_MTS", 32)
	if len(b) < 0x28 {
		return
	}
	for i, name := range [...]string{"MINIMUM_VOLTAGE", "MAXIMUM_VOLTAGE", "CONFIGURED_VOLTAGE"} {
		if v := word(34 + 2*i); v != 0 {
			digits := 1
			if v%100 != 0 {
				digits = 6
			}
			set(name, "%s", strconv.FormatFloat(float64(v)/1000, 'g', digits, 64))
		}
	}
	if len(b) < 0x34 {
		return
	}
	set("MEMORY_TECHNOLOGY", "%s", dmiWord(dmiTechnologies, int(b[40])))
	if modes := word(41); modes&0xfffe != 0 {
		set("MEMORY_OPERATING_MODE_CAPABILITY", "%s", bitWords(dmiModes, modes))
	}
	str("FIRMWARE_VERSION", b[43])
	for at, name := range map[int]string{44: "MODULE", 48: "MEMORY_SUBSYSTEM_CONTROLLER"} {
		if v := word(at); v != 0 {
			set(name+"_MANUFACTURER_ID", "Bank %d, Hex 0x%02X", v&0x7f+1, v>>8)
		}
		if v := word(at + 2); v != 0 {
			set(name+"_PRODUCT_ID", "0x%04X", v)
		}
	}
	for i, name := range [...]string{"NON_VOLATILE_SIZE", "VOLATILE_SIZE", "CACHE_SIZE", "LOGICAL_SIZE"} {
		at := 52 + 8*i
		if len(b) < at+8 {
			return
		}
		if v := binary.LittleEndian.Uint64(b[at:]); v != 0 && v != ^uint64(0) {
			set(name, "%d", v)
		}
	}
}

// dmiString returns the n-th of the texts behind a structure.
func dmiString(texts []byte, n int) string {
	if n == 0 {
		return "Not Specified"
	}
	for ; n > 1 && len(texts) > 0 && texts[0] != 0; n-- {
		i := bytes.IndexByte(texts, 0)
		if i < 0 {
			break
		}
		texts = texts[i+1:]
	}
	if s := text(texts); s != "" {
		return s
	}
	return "<BAD INDEX>"
}
