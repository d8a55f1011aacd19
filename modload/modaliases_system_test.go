//go:build system

package modload

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// busOf is what stands before the colon, up to a star; of what has no colon, as modules' names have none, "names".
func busOf(alias string) string {
	bus, _, ok := strings.Cut(alias, ":")
	if !ok {
		return "names"
	}
	bus, _, _ = strings.Cut(bus, "*")
	return strings.ReplaceAll(bus, "-", "_")
}

// fields are what a bus's modalias is made of: letters, then that many hexadecimal digits.
// Source: the kernel's scripts/mod/file2alias.c, and each bus's uevent function.
var fields = map[string]map[string]int{
	"pci":      {"v": 8, "d": 8, "sv": 8, "sd": 8, "bc": 2, "sc": 2, "i": 2},
	"usb":      {"v": 4, "p": 4, "d": 4, "dc": 2, "dsc": 2, "dp": 2, "ic": 2, "isc": 2, "ip": 2, "in": 2},
	"hid":      {"b": 4, "g": 4, "v": 8, "p": 8},
	"pcmcia":   {"m": 4, "c": 4, "f": 2, "fn": 2, "pfn": 2, "pa": 8, "pb": 8, "pc": 8, "pd": 8},
	"sdio":     {"c": 2, "v": 4, "d": 4},
	"ssb":      {"v": 4, "id": 4, "rev": 2},
	"bcma":     {"m": 4, "id": 4, "rev": 2, "cl": 2},
	"ieee1394": {"ven": 8, "mo": 8, "sp": 8, "ver": 8},
	"serio":    {"ty": 2, "pr": 2, "id": 2, "ex": 2},
	"hdaudio":  {"v": 8, "r": 8, "a": 2},
	"sdw":      {"m": 4, "p": 4, "v": 2, "c": 2},
	"virtio":   {"d": 8, "v": 8},
	"ssam":     {"t": 2, "i": 2, "f": 2},
	"typec":    {"m": 2},
	"cpu":      {"ven": 4, "fam": 4, "mod": 4},
	"tbsvc":    {"v": 8, "r": 8},
	"vfio_pci": {"v": 8, "d": 8, "sv": 8, "sd": 8, "bc": 2, "sc": 2, "i": 2},
}

// A maker makes modaliases.
type maker struct{ *rand.Rand }

func (r maker) digits(b []byte, n int) []byte {
	for range n {
		b = append(b, "0123456789ABCDEF"[r.IntN(16)])
	}
	return b
}

func (r maker) word(words ...string) string { return words[r.IntN(len(words))] }

// like makes what a device that matches a pattern says, whole, and sometimes what one says that matches none.
func (r maker) like(pattern string) (alias string, known bool) {
	var b []byte
	switch bus := busOf(pattern); bus {
	case "dmi":
		b = r.dmi(pattern)
	case "input":
		b = r.input(pattern)
	case "cpu":
		head, feature, _ := strings.Cut(pattern, "feature:")
		b = r.features(append(r.filled(bus, head), "feature:"...), strings.Trim(feature, "*"))
	default:
		b = r.filled(bus, pattern)
	}
	switch busOf(pattern) { // the index has _ for every -
	case "wmi", "mei", "scsi", "ishtp":
		b = bytes.ReplaceAll(b, []byte("_"), []byte("-"))
	case "names", "platform", "spi", "i2c", "of":
		if r.IntN(2) == 0 {
			b = bytes.ReplaceAll(b, []byte("_"), []byte("-"))
		}
	}
	if r.IntN(8) > 0 || len(b) == 0 {
		return string(b), true
	}
	text := strings.TrimRight(pattern, "*")
	at := len(text)
	for at > 0 && strings.IndexByte("0123456789ABCDEFabcdef", text[at-1]) < 0 {
		at-- // at the last digit that the pattern names: another device of the same maker
	}
	at = min(max(at-1, len(b)/2, bytes.IndexByte(b, ':')+1), len(b)-1) // on the same bus
	b[at] = r.digits(nil, 1)[0]
	return string(b), false
}

// filled puts something in the place of each wildcard.
func (r maker) filled(bus, pattern string) []byte {
	var b []byte
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			b = r.star(b, bus, pattern, i)
		case '?':
			b = append(b, "01"[r.IntN(2)])
		case '[':
			end := strings.IndexByte(pattern[i:], ']')
			set := pattern[i+1 : i+end]
			if len(set) > 2 && set[1] == '-' {
				b = append(b, set[0]+byte(r.IntN(int(set[2]-set[0])+1)))
			} else {
				b = append(b, set[r.IntN(len(set))])
			}
			i += end
		default:
			b = append(b, c)
		}
	}
	return b
}

func (r maker) star(b []byte, bus, pattern string, at int) []byte {
	start := at
	for start > 0 && 'a' <= pattern[start-1] && pattern[start-1] <= 'z' {
		start--
	}
	last := at == len(pattern)-1
	if n := fields[bus][pattern[start:at]]; n > 0 {
		return r.digits(b, n)
	}
	switch {
	case bus == "acpi" && at > 4 && r.IntN(3) == 0: // most have one name
		return append(r.digits(append(b, "PNP"...), 4), ':')
	case bus == "of" && !last && pattern[start:at] == "":
		if pattern[at-1] == 'T' {
			return append(b, r.word("(null)", "(null)", "serial", "network")...)
		}
		return append(b, r.word("gpio", "i2c", "serial", "ethernet", "codec", "regulator", "clock_controller")...)
	case bus == "of" && last && r.IntN(2) == 0:
		return append(r.digits(append(b, "Cvendor,part"...), 4), "Cvendor,generic"...)
	case bus == "mei" && at == 4:
		return append(b, r.word("", "itouch", "pn544")...)
	case bus == "mei" && !last:
		return r.digits(b, 2)
	}
	return b
}

// features are a processor's: some hundred and thirty of them, as arch/x86/kernel/cpu/match.c writes them.
func (r maker) features(b []byte, wanted string) []byte {
	list := map[string]bool{}
	if wanted != "" {
		list[wanted] = true
	}
	for range 100 + r.IntN(60) {
		list[fmt.Sprintf("%04X", r.IntN(0x2C0))] = true
	}
	var sorted []string
	for f := range list {
		sorted = append(sorted, f)
	}
	slices.Sort(sorted)
	for _, f := range sorted {
		b = append(append(b, ','), f...)
	}
	return b
}

// dmi makes all the fields of drivers/firmware/dmi-id.c, those of the pattern filled.
func (r maker) dmi(pattern string) []byte {
	given := map[string]string{}
	for piece := range strings.SplitSeq(pattern, ":") {
		n := 0
		for n < len(piece) && 'a' <= piece[n] && piece[n] <= 'z' {
			n++
		}
		if n > 0 {
			var b []byte
			for _, c := range []byte(piece[n:]) {
				if c != '*' {
					b = append(b, c)
				} else if r.IntN(2) == 0 {
					b = append(b, r.word("Mini", "X", "Pro", "02")...)
				}
			}
			given[piece[:n]] = string(b)
		} else if text := strings.Trim(piece, "*"); text != "" {
			given["svn"] = text
		}
	}
	b := []byte("dmi:")
	for _, f := range []string{"bvn", "bvr", "bd", "br", "efr", "svn", "pn", "pvr", "rvn", "rn", "rvr", "cvn", "ct", "cvr", "sku"} {
		b = append(b, f...)
		text, ok := given[f]
		switch {
		case ok:
			b = append(b, text...)
		case f == "bvn" || f == "rvn" || f == "cvn" || f == "svn":
			b = append(b, r.word("DellInc.", "LENOVO", "AmericanMegatrendsInc.", "INSYDECorp.", "HP", "QEMU")...)
		case f == "bd":
			b = fmt.Appendf(b, "%02d/%02d/20%02d", 1+r.IntN(12), 1+r.IntN(28), 8+r.IntN(16))
		case f == "ct":
			b = append(b, r.word("3", "9", "10", "31")...)
		case f == "br" || f == "efr":
			b = fmt.Appendf(b, "%d.%d", r.IntN(4), r.IntN(40))
		default:
			b = r.digits(append(b, r.word("Inspiron", "ThinkPad", "0KP0FT", "A", "1.", "NotAvailable")...), 3)
		}
		b = append(b, ':')
	}
	return b
}

// input makes what drivers/input/input.c does: the pattern's events, keys and axes, and others.
func (r maker) input(pattern string) []byte {
	b := append(r.digits([]byte("input:b00"), 2), 'v')
	b = append(r.digits(b, 4), 'p')
	b = append(r.digits(b, 4), "e01"...)
	b = append(r.digits(b, 2), '-')
	_, pattern, _ = strings.Cut(pattern, "-")
	for _, section := range "ekramlsfw" {
		b = append(b, byte(section))
		var list []uint64
		if _, rest, ok := strings.Cut(pattern, string(section)+"*"); ok {
			var n uint64
			if _, err := fmt.Sscanf(rest, "%X,", &n); err == nil {
				list = append(list, n)
			}
		}
		switch section {
		case 'e':
			list = append(list, 0, 1, 4, 0x11, 0x14)
		case 'k':
			for n := range 20 + r.IntN(100) {
				list = append(list, 0x71+uint64(n)*3/2)
			}
		case 'l':
			list = append(list, 0, 1, 2)
		case 'm':
			list = append(list, 4)
		}
		slices.Sort(list)
		for _, n := range slices.Compact(list) {
			b = fmt.Appendf(b, "%X,", n)
		}
	}
	return b
}

// modaliases makes n different modaliases of all buses, by bus, after the patterns of a tree: each in as many forms as its bus knows. About
// one of eight is of a device that nobody knows.
func modaliases(t testing.TB, x *Index, n int) map[string][]string {
	t.Helper()
	var patterns []string
	for p := range x.Aliases() {
		patterns = append(patterns, p)
	}
	for e := range x.Modules() {
		patterns = append(patterns, e.Name)
	}
	r := maker{rand.New(rand.NewPCG(20, 26))}
	seen := make(map[string]bool, n)
	buses := map[string][]string{}
	unknown := map[string]int{}
	for round := 0; len(seen) < n; round++ {
		before := len(seen)
		for _, p := range patterns {
			if round > 0 && !isPattern(p) && r.IntN(4) > 0 {
				continue
			}
			a, known := r.like(p)
			bus := busOf(a)
			if seen[a] || !known && unknown[bus] > len(buses[bus])/7 {
				continue
			}
			seen[a] = true
			if !known {
				unknown[bus]++
			}
			buses[bus] = append(buses[bus], a)
			if len(seen) == n {
				break
			}
		}
		if len(seen) == before {
			t.Fatalf("no more than %d modaliases are different", before)
		}
	}
	for _, list := range buses {
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return buses
}

// inOrder copies strings so that they lie in memory in the order in which they will be looked up, as they do in libkmod's program.
func inOrder(list []string) []string {
	text := strings.Join(list, "")
	out := make([]string, len(list))
	for i, s := range list {
		out[i], text = text[:len(s)], text[len(s):]
	}
	return out
}
