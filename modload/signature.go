package modload

import (
	"bytes"
	"encoding/binary"
)

// A Signature is what stands behind the end of a signed module. It is shown, never verified: that is the kernel's affair.
//
// Format: the kernel's scripts/sign-file.c and include/linux/module_signature.h.
type Signature struct {
	Type   string // "PKCS#7", or "X509" and "PGP" of old kernels
	Signer string // common name of the certificate's issuer
	Key    []byte // the certificate's serial number, or key identifier
	Hash   string // "sha256" …
	Data   []byte
}

const signatureMagic = "~Module signature appended~\n"

// Signature reads the module's trailer; false when it is not signed.
func (m *Module) Signature() (Signature, bool) {
	const trailer = 12
	size := uint64(m.size)
	end := uint64(trailer + len(signatureMagic))
	if size < end {
		return Signature{}, false
	}
	b, err := m.at(size-end, end)
	if err != nil || string(b[trailer:]) != signatureMagic {
		return Signature{}, false
	}
	algorithms := [...]string{"md4", "md5", "sha1", "rmd160", "sha256", "sha384", "sha512", "sha224", "sm3"}
	types := [...]string{"PGP", "X509", "PKCS#7"}
	algorithm, hash, kind, signer, key := b[0], b[1], b[2], uint64(b[3]), uint64(b[4])
	length := uint64(binary.BigEndian.Uint32(b[8:]))
	if algorithm > 1 || int(hash) >= len(algorithms) || int(kind) >= len(types) || length == 0 || size-end < signer+key+length {
		return Signature{}, false
	}
	data, err := m.at(size-end-length-key-signer, signer+key+length)
	if err != nil {
		return Signature{}, false
	}
	s := Signature{Type: types[kind]}
	if types[kind] == "PKCS#7" {
		return s, s.readPKCS7(data[signer+key:])
	}
	s.Signer, s.Key, s.Hash, s.Data = string(data[:signer]), data[signer:signer+key], algorithms[hash], data[signer+key:]
	return s, true
}

// readPKCS7 takes from a PKCS #7 SignedData (RFC 2315) what its first signer says: issuer, serial number, digest, signature. It reads
// DER by hand, the few levels there are; false when they are not as expected.
func (s *Signature) readPKCS7(der []byte) bool {
	content, _, ok := derValue(der, derSequence)
	if !ok {
		return false
	}
	_, content, ok = derValue(content, derOID) // signedData
	if !ok {
		return false
	}
	if content, _, ok = derValue(content, derContext0); !ok {
		return false
	}
	if content, _, ok = derValue(content, derSequence); !ok {
		return false
	}
	// version, digestAlgorithms, contentInfo, then maybe certificates [0] and crls [1], then signerInfos
	var signers []byte
	for i := 0; len(content) > 0; i++ {
		tag, value, rest, ok := derNext(content)
		if !ok {
			return false
		}
		if i >= 3 && tag == derSet {
			signers = value
			break
		}
		content = rest
	}
	info, _, ok := derValue(signers, derSequence)
	if !ok {
		return false
	}
	if _, info, ok = derValue(info, derInteger); !ok { // version
		return false
	}
	issuerAndSerial, info, ok := derValue(info, derSequence)
	if !ok {
		return false
	}
	issuer, serial, ok := derValue(issuerAndSerial, derSequence)
	if !ok {
		return false
	}
	if s.Key, _, ok = derValue(serial, derInteger); !ok {
		return false
	}
	s.Key = bytes.TrimLeft(s.Key, "\x00")
	s.Signer = commonName(issuer)
	digest, info, ok := derValue(info, derSequence)
	if !ok {
		return false
	}
	oid, _, ok := derValue(digest, derOID)
	if !ok {
		return false
	}
	s.Hash = digestName(oid)
	for len(info) > 0 { // authenticatedAttributes [0] may come, then the signature's algorithm, then the signature
		tag, value, rest, ok := derNext(info)
		if !ok {
			return false
		}
		if tag == derOctets {
			s.Data = value
			return true
		}
		info = rest
	}
	return false
}

// commonName finds the attribute 2.5.4.3 in a distinguished name; else it is the last attribute there, as in kmod.
func commonName(name []byte) string {
	var last string
	for len(name) > 0 {
		_, set, rest, ok := derNext(name)
		if !ok {
			break
		}
		name = rest
		attribute, _, ok := derValue(set, derSequence)
		if !ok {
			break
		}
		oid, value, ok := derValue(attribute, derOID)
		if !ok {
			break
		}
		_, text, _, ok := derNext(value)
		if !ok {
			break
		}
		last = string(text)
		if bytes.Equal(oid, []byte{0x55, 4, 3}) {
			break
		}
	}
	return last
}

func digestName(oid []byte) string {
	switch string(oid) {
	case "\x2a\x86\x48\x86\xf7\x0d\x02\x04":
		return "md4"
	case "\x2a\x86\x48\x86\xf7\x0d\x02\x05":
		return "md5"
	case "\x2b\x0e\x03\x02\x1a":
		return "sha1"
	case "\x2b\x24\x03\x02\x01":
		return "rmd160"
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x01":
		return "sha256"
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x02":
		return "sha384"
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x03":
		return "sha512"
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x04":
		return "sha224"
	case "\x2a\x81\x1c\xcf\x55\x01\x83\x11":
		return "sm3"
	}
	return "unknown"
}

const (
	derInteger  = 0x02
	derOctets   = 0x04
	derOID      = 0x06
	derSequence = 0x30
	derSet      = 0x31
	derContext0 = 0xa0
)

// derNext splits the first element from b.
func derNext(b []byte) (tag byte, value, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, nil, false
	}
	tag, length := b[0], int(b[1])
	b = b[2:]
	if length >= 0x80 {
		n := length & 0x7f
		if n == 0 || n > 3 || len(b) < n {
			return 0, nil, nil, false
		}
		length = 0
		for _, c := range b[:n] {
			length = length<<8 | int(c)
		}
		b = b[n:]
	}
	if length > len(b) {
		return 0, nil, nil, false
	}
	return tag, b[:length], b[length:], true
}

// derValue is derNext for an element that must have that tag.
func derValue(b []byte, tag byte) (value, rest []byte, ok bool) {
	t, value, rest, ok := derNext(b)
	return value, rest, ok && t == tag
}
