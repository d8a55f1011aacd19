package blkid

import (
	"bytes"
	"fmt"
	"strings"
)

// probeISO reads the volume descriptors of ISO 9660: the primary one, Joliet's with names in UTF-16, the boot record.
func probeISO(p *probe, m *magic, _ []byte) bool {
	if p.opts.Session%2048 != 0 {
		return false
	}
	if m.text == "CDROM" { // High Sierra, its predecessor
		b := p.sb(m, 80)
		if b == nil {
			return false
		}
		p.blockSize(2048)
		p.version("High Sierra")
		p.label(b[48:80])
		return true
	}
	var boot, primary, joliet []byte
	for i := int64(0); i < 16 && (boot == nil || primary == nil || joliet == nil); i++ {
		d := p.buf(p.opts.Session+0x8000+i*2048, 847)
		if d == nil || d[0] == 0xff {
			break
		}
		switch {
		case d[0] == 0 && boot == nil:
			boot = d
		case d[0] == 1 && primary == nil:
			primary = d
		case d[0] == 2 && joliet == nil:
			if e := string(d[88:91]); e == "%/@" || e == "%/C" || e == "%/E" {
				joliet = d
			}
		}
	}
	if primary == nil {
		return false
	}
	p.blockSize(2048)
	id := func(key string, from, to int, always bool) {
		ascii := primary[from:to]
		asciiEmpty := !always && (ascii[0] == 0 || len(bytes.Trim(ascii, space)) == 0 || ascii[0] == '_')
		if joliet != nil {
			wide := joliet[from:to]
			if always || !(wideBlank(wide) || wide[0] == 0 && wide[1] == '_') {
				if merged := mergeNames(wide, ascii); merged != nil && !asciiEmpty {
					p.text(key, trim(utf16Text(merged, be)))
				} else {
					p.text(key, trim(utf16Text(wide, be)))
				}
				return
			}
		}
		if !asciiEmpty {
			p.id(key, ascii)
		}
	}
	id("SYSTEM_ID", 8, 40, true)
	id("VOLUME_SET_ID", 190, 318, true)
	id("PUBLISHER_ID", 318, 446, false)
	id("DATA_PREPARER_ID", 446, 574, false)
	id("APPLICATION_ID", 574, 702, false)
	if !p.isoDate(primary[830:847]) {
		p.isoDate(primary[813:830])
	}
	if boot != nil {
		p.id("BOOT_SYSTEM_ID", boot[7:39])
	}
	if joliet == nil {
		p.label(primary[40:72])
		return true
	}
	p.version("Joliet Extension")
	// Joliet has 16 characters of the name, the primary descriptor 32 in capitals.
	wide := joliet[40:72]
	if merged := mergeNames(wide, primary[40:72]); merged != nil {
		wide = merged
	}
	p.text("LABEL", trimRight(utf16Text(wide, be)))
	return true
}

// isoDate makes a UUID of a date: 17 bytes, the last one the time zone.
func (p *probe) isoDate(b []byte) bool {
	if b[16] == 0 && strings.Trim(string(b[:16]), "0") == "" {
		return false
	}
	p.uuidf(b[:16], "%s-%s-%s-%s-%s-%s-%s", b[:4], b[4:6], b[6:8], b[8:10], b[10:12], b[12:14], b[14:16])
	return true
}

func wideBlank(b []byte) bool {
	for i := 0; i+1 < len(b); i += 2 {
		if b[i] != 0 || !isSpace(b[i+1]) {
			return false
		}
	}
	return true
}

// mergeNames completes a name in UTF-16 by the longer one in ASCII when they are the same but for letters' case and for
// what ASCII lacks ('_' there); nil when they are not.
func mergeNames(wide, ascii []byte) []byte {
	var out []byte
	a, u := 0, 0
	n := len(ascii)
	upper := func(c byte) byte {
		if c >= 'a' && c <= 'z' {
			return c - 32
		}
		return c
	}
	for ; u+1 < n && a < n; a, u = a+1, u+2 {
		if wide[u] >= 0xd8 && wide[u] <= 0xdb && u+3 < n && wide[u+2] >= 0xdc && wide[u+2] <= 0xdf {
			out = append(out, wide[u], wide[u+1])
			u += 2
		}
		switch {
		case ascii[a] == '_':
			out = append(out, wide[u], wide[u+1])
		case wide[u] == 0 && wide[u+1] == '_':
			out = append(out, 0, ascii[a])
		case wide[u] == 0 && upper(ascii[a]) == upper(wide[u+1]):
			c := ascii[a]
			if c >= 'A' && c <= 'Z' {
				c = wide[u+1]
			}
			out = append(out, 0, c)
		default:
			return nil
		}
	}
	for ; a < n; a++ {
		out = append(out, 0, ascii[a])
	}
	return out
}

var udfMagics = []magic{
	{text: "BEA01", kb: 32, off: 1, session: true}, {text: "BOOT2", kb: 32, off: 1, session: true},
	{text: "CD001", kb: 32, off: 1, session: true}, {text: "CDW02", kb: 32, off: 1, session: true},
	{text: "NSR02", kb: 32, off: 1, session: true}, {text: "NSR03", kb: 32, off: 1, session: true},
	{text: "TEA01", kb: 32, off: 1, session: true},
}

// dstring decodes OSTA's compressed Unicode: 8 or 16 bits a character, the length in the last byte.
func dstring(b []byte) (string, bool) {
	n := int(b[len(b)-1])
	if n > 0 {
		n--
	}
	text := b[1 : len(b)-1]
	text = text[:min(n, len(text))]
	switch b[0] {
	case 8:
		return latin1Text(text), true
	case 16:
		return utf16Text(text, be), true
	}
	return "", false
}

// isOSTA says whether a charspec is the one that dstring decodes.
func isOSTA(b []byte) bool { return b[0] == 0 && cString(b[1:64]) == "OSTA Compressed Unicode" }

// udfUUID makes a UUID of the volume set's name: its first 16 characters where they are hexadecimal, else bytes of it.
func udfUUID(name string) string {
	if len(name) > 16 {
		name = name[:16]
	}
	if len(name) < 8 {
		return ""
	}
	hex := 0
	for hex < len(name) && strings.IndexByte("0123456789abcdefABCDEF", name[hex]) >= 0 {
		hex++
	}
	at := func(i int) byte {
		if i < len(name) {
			return name[i]
		}
		return 0
	}
	switch {
	case hex < 8:
		return fmt.Sprintf("%x", name[:8])
	case hex < 16:
		return fmt.Sprintf("%s%02x%02x%02x%02x", strings.ToLower(name[:8]), at(8), at(9), at(10), at(11))
	}
	return strings.ToLower(name)
}

// udfAnchor finds the anchor descriptor, and by it the size of a block. Format: ECMA-167, OSTA UDF 2.60.
func (p *probe) udfAnchor() (anchor []byte, block int64) {
	s := p.opts.Session
	sizes := []int64{int64(p.opts.SectorSize)}
	for _, n := range [...]int64{512, 1024, 2048, 4096} {
		if n != sizes[0] {
			sizes = append(sizes, n)
		}
	}
	known, valid := false, false // of the recognition sequence in steps of 2048
	for _, bs := range sizes {
		if s%bs != 0 {
			continue
		}
		step := max(bs, 2048)
		shared := s == 0 && step == 2048
		if !shared || !known {
			found := false
			for i := int64(0); i < 64; i++ {
				d := p.buf(s+0x8000+i*step, 7)
				if d == nil {
					return nil, 0
				}
				id := string(d[1:6])
				if id == "NSR02" || id == "NSR03" {
					found = true
				}
				if found || d[1] == 0 || id != "BEA01" && id != "BOOT2" && id != "CD001" && id != "CDW02" && id != "TEA01" {
					break
				}
			}
			if shared {
				known, valid = true, found
			}
			if !found {
				continue
			}
		} else if !valid {
			continue
		}
		for _, n := range [...]int64{256, 512} {
			d := p.buf(s+n*bs, 512)
			if d == nil {
				return nil, 0
			}
			if int64(le.Uint32(d[12:])) == s/bs+n && le.Uint16(d) == 2 {
				return d, bs
			}
		}
	}
	return nil, 0
}

func probeUDF(p *probe, _ *magic, _ []byte) bool {
	anchor, bs := p.udfAnchor()
	if anchor == nil {
		return false
	}
	count := min(int64(le.Uint32(anchor[16:]))/bs, 4096)
	loc := int64(le.Uint32(anchor[20:]))
	var revision uint16
	var integrity, integrityLen int64
	done := map[string]bool{}
	text := func(key string, b []byte, right bool) {
		s, ok := dstring(b)
		if !ok || done[key] {
			return
		}
		if right {
			s = trimRight(s)
		} else {
			s = trim(s)
		}
		done[key] = p.text(key, s)
	}
	for i := int64(0); i < count; i++ {
		d := p.buf((loc+i)*bs, 512)
		if d == nil {
			return false
		}
		tag := le.Uint16(d)
		if tag == 0 || int64(le.Uint32(d[12:])) != loc+i || tag == 8 {
			break
		}
		switch tag {
		case 1: // the primary volume descriptor
			if isOSTA(d[200:264]) {
				text("VOLUME_ID", d[24:56], false)
				if name, ok := dstring(d[72:200]); ok && !done["UUID"] {
					if u := udfUUID(name); u != "" {
						done["UUID"] = p.text("UUID", u)
					}
				}
				text("VOLUME_SET_ID", d[72:200], false)
			}
			if !done["APPLICATION_ID"] {
				app := strings.TrimPrefix(cString(d[345:368]), "*")
				if app == "" {
					app = strings.TrimPrefix(cString(d[389:412]), "*")
				}
				done["APPLICATION_ID"] = p.text("APPLICATION_ID", trim(app))
			}
		case 6: // the logical volume descriptor
			if integrity == 0 || integrityLen == 0 {
				if le.Uint32(d[268:]) != 0 {
					integrityLen, integrity = int64(le.Uint32(d[432:])), int64(le.Uint32(d[436:]))
				}
			}
			if revision == 0 && strings.HasPrefix(string(d[217:240]), "*OSTA UDF Compliant") {
				revision = le.Uint16(d[240:])
			}
			if isOSTA(d[20:84]) {
				text("LABEL", d[84:212], true)
				text("LOGICAL_VOLUME_ID", d[84:212], false)
			}
		case 4: // the implementation's
			if strings.HasPrefix(cString(d[21:44]), "*UDF LV Info") && isOSTA(d[52:116]) {
				text("PUBLISHER_ID", d[244:280], false)
			}
		}
	}
	if integrity != 0 && integrityLen >= 512 {
		d := p.buf(integrity*bs, 512)
		if d == nil {
			return false
		}
		if le.Uint16(d) == 9 && int64(le.Uint32(d[12:])) == integrity && le.Uint32(d[76:]) >= 46 {
			use := p.buf(integrity*bs+80+8*int64(le.Uint32(d[72:])), 46)
			if use == nil {
				return false
			}
			revision = max(revision, le.Uint16(use[40:]), le.Uint16(use[42:]))
		}
	}
	if revision != 0 {
		p.version(fmt.Sprintf("%x.%02x", revision>>8, revision&0xff))
	}
	p.blockSize(uint64(bs))
	return true
}
