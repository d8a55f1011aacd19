package blkid

import "fmt"

// The formats in which the firmware of a disk controller keeps its arrays lie in the last sectors of the whole disk.

// probeISW finds Intel's, in the last sector but one of the disk's own size.
func probeISW(p *probe, _ *magic, _ []byte) bool {
	sector := int64(p.opts.SectorSize)
	b := p.buf((p.size/sector-2)*sector, 48)
	const sig = "Intel Raid ISM Cfg Sig. "
	if b == nil || string(b[:len(sig)]) != sig {
		return false
	}
	p.version(fmt.Sprintf("%6s", cString(b[len(sig):])))
	return true
}

func probeVIA(p *probe, _ *magic, b []byte) bool {
	sum := byte(0)
	for _, c := range b[:50] {
		sum += c
	}
	if b[2] > 2 || sum != b[50] {
		return false
	}
	p.number("VERSION", uint64(b[2]))
	return true
}

func probeSilicon(p *probe, _ *magic, b []byte) bool {
	sum := uint16(0)
	for i := 0; i < 0x13e; i += 2 {
		sum -= le.Uint16(b[i:])
	}
	if b[0x116] >= 8 || sum != le.Uint16(b[0x13e:]) {
		return false
	}
	p.dotted(uint64(le.Uint16(b[0x10a:])), uint64(le.Uint16(b[0x108:])))
	return true
}

func probeNvidia(p *probe, _ *magic, b []byte) bool {
	p.number("VERSION", uint64(le.Uint16(b[16:])))
	return true
}

func probeAdaptec(p *probe, _ *magic, b []byte) bool {
	if string(b[256:260]) != "DPTM" {
		return false
	}
	p.number("VERSION", uint64(b[63]))
	return true
}

func probeJMicron(p *probe, _ *magic, b []byte) bool {
	p.dotted(uint64(b[3]), uint64(b[2]))
	return true
}

// promiseMagics are at so many sectors from the end, by the geometry that the firmware took the disk to have.
var promiseMagics = []magic{
	{text: promise, end: 63}, {text: promise, end: 255}, {text: promise, end: 256}, {text: promise, end: 16},
	{text: promise, end: 399}, {text: promise, end: 591}, {text: promise, end: 675}, {text: promise, end: 735},
	{text: promise, end: 911}, {text: promise, end: 974}, {text: promise, end: 991}, {text: promise, end: 951},
	{text: promise, end: 3087},
}

const promise = "Promise Technology, Inc."
