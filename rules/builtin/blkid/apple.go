package blkid

import "crypto/md5"

// hfsUUID makes a UUID of the 8 bytes that Apple keeps: version 3, in Apple's own name space.
func (p *probe) hfsUUID(id []byte) {
	if isZero(id) {
		return
	}
	h := md5.New()
	h.Write([]byte("\xb3\xe2\x0f\x39\xf2\x92\x11\xd6\x97\xa4\x00\x30\x65\x43\xec\xac"))
	h.Write(id)
	u := h.Sum(nil)
	u[6] = 0x30 | u[6]&0x0f
	u[8] = 0x80 | u[8]&0x3f
	p.uuid(u)
}

// isEmbedded says whether an HFS volume only wraps HFS+.
func isEmbedded(b []byte) bool { s := string(b[124:126]); return s == "H+" || s == "HX" }

// probeHFS reads the master directory block. Format: Inside Macintosh, Files, 2-59.
func probeHFS(p *probe, _ *magic, b []byte) bool {
	if isEmbedded(b) {
		return false
	}
	if size := be.Uint32(b[20:]); size == 0 || size%512 != 0 {
		return false
	}
	p.hfsUUID(b[116:124])
	p.label(b[37:][:min(int(b[36]), 27)])
	return true
}

// probeHFSPlus reads the volume header, and the first leaf of the catalogue for the name. Format: Apple TN1150.
func probeHFSPlus(p *probe, m *magic, b []byte) bool {
	off := int64(0)
	if string(b[:2]) == "BD" {
		if !isEmbedded(b) {
			return false
		}
		off = int64(be.Uint16(b[28:]))*512 + int64(be.Uint16(b[126:]))*int64(be.Uint32(b[20:]))
	}
	h := p.buf(off+int64(m.kb)<<10, 512)
	if h == nil || string(h[:2]) != "H+" && string(h[:2]) != "HX" {
		return false
	}
	size := int64(be.Uint32(h[40:]))
	if size < 512 {
		return false
	}
	p.hfsUUID(h[104:112])
	p.blockSize(uint64(size))
	extents := h[0x110+16:][:64]
	node := p.buf(off+int64(be.Uint32(extents))*size, 0x2000)
	if node == nil {
		return true
	}
	leaf, nodeSize, leaves := be.Uint32(node[24:]), be.Uint16(node[32:]), be.Uint32(node[20:])
	if int(nodeSize) < 14+518 || leaves == 0 {
		return true
	}
	block := int64(leaf) * int64(nodeSize) / size
	for ; len(extents) > 0; extents = extents[8:] {
		start, count := int64(be.Uint32(extents)), int64(be.Uint32(extents[4:]))
		if count == 0 {
			return true
		}
		if block >= count {
			block -= count
			continue
		}
		n := p.buf(off+(start+block)*size, int(nodeSize))
		if n == nil || be.Uint16(n[10:]) == 0 || n[8] != 0xff {
			return true
		}
		length := int(be.Uint16(n[20:]))
		if be.Uint32(n[16:]) == 1 && length <= 255 && 22+2*length <= len(n) {
			p.text("LABEL", trimRight(utf16Text(n[22:22+2*length], be)))
		}
		return true
	}
	return true
}

// probeAPFS accepts containers with blocks of 4 KiB. Format: Apple File System Reference.
func probeAPFS(p *probe, _ *magic, b []byte) bool {
	if le.Uint16(b[24:]) != 1 || le.Uint32(b[28:]) != 0 || le.Uint32(b[36:]) != 4096 {
		return false
	}
	p.uuid(b[72:])
	p.blockSize(4096)
	return true
}
