package builtin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// ataID prints what an ATA disk or ATAPI drive says of itself. Format: ATA8-ACS, 7.16, IDENTIFY DEVICE.
func (t *Table) ataID(ctx context.Context, call *Call, args []string, out io.Writer) error {
	var name string
	var export bool
	if err := options(args, nil, map[string]*bool{"x": &export, "export": &export}, &name); err != nil {
		return err
	}
	n, err := t.openNamed(call, name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer n.Close()
	id, err := identify(n)
	if err != nil {
		return err
	}
	var p printer
	id.print(&p, export)
	_, err = out.Write(p.Bytes())
	return err
}

// identity is the answer to IDENTIFY DEVICE: 256 words, texts with each pair of characters swapped.
type identity struct {
	b       [512]byte
	swapped bool // texts are in order already
	// passed is what came by a SCSI command, even where the drive's registers did not come along, and that did not count:
	// a few words are taken from it alone.
	passed [512]byte
}

func (id *identity) word(i int) uint16 { return binary.LittleEndian.Uint16(id.b[2*i:]) }

func (id *identity) passedWord(i int) uint16 { return binary.LittleEndian.Uint16(id.passed[2*i:]) }

func (id *identity) text(word, length int) string {
	b := append([]byte(nil), id.b[2*word:][:length]...)
	if !id.swapped {
		for i := 0; i < length; i += 2 {
			b[i], b[i+1] = b[i+1], b[i]
		}
	}
	return text(b)
}

// identify asks by SCSI commands that carry ATA ones, and where that is not understood, by HDIO_GET_IDENTITY. An
// inquiry comes first: to a burner, the ATA command would be one that blanks the disc.
func identify(n Node) (*identity, error) {
	id := &identity{}
	if err := id.passThrough(n); err == nil {
		id.b = id.passed
		return id, nil
	}
	const hdioGetIdentity = 0x030d
	id.swapped = true
	if _, err := n.Ioctl(hdioGetIdentity, id.b[:]); err != nil {
		return nil, fmt.Errorf("identify the drive: %w", err)
	}
	return id, nil
}

func (id *identity) passThrough(n Node) error {
	var inquiry [36]byte
	c, err := command(n, []byte{0x12, 0, 0, 0, 36, 0}, inquiry[:])
	if err != nil {
		return err
	}
	if c.Status != 0 || c.HostStatus != 0 || c.DriverStatus != 0 {
		return errors.New("the drive answers no inquiry")
	}
	var cdb []byte
	packet := false
	switch inquiry[0] & 0x1f {
	case 0x05: // ATA PASS-THROUGH (16), IDENTIFY PACKET DEVICE
		packet = true
		cdb = []byte{0x85, 4 << 1, 0x2e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xa1, 0}
	case 0x00, 0x14: // ATA PASS-THROUGH (12), IDENTIFY DEVICE
		cdb = []byte{0xa1, 4 << 1, 0x2e, 0, 1, 0, 0, 0, 0, 0xec, 0, 0}
	default:
		return errors.New("not a disk")
	}
	if c, err = command(n, cdb, id.passed[:]); err != nil {
		return err
	}
	var s [32]byte // the sense data tells success: it holds the drive's registers
	copy(s[:], c.Sense)
	descriptor := s[0]&0x7f == 0x72 && s[8] == 0x09 && s[9] == 0x0c
	fixed := s[0]&0x7f == 0x70 && s[12] == 0x00 && s[13] == 0x1d
	if !descriptor && (packet || !fixed) {
		return errors.New("the drive does not take ATA commands")
	}
	if id.passed == [512]byte{} {
		return errors.New("the drive says nothing of itself")
	}
	return nil
}

// command sends a command by the newer interface, and by the older one where a driver has no other.
func command(n Node, cdb, data []byte) (*SCSICommand, error) {
	c := &SCSICommand{CDB: cdb, Data: data, Timeout: 30000, V4: true}
	err := n.SCSI(c)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		c = &SCSICommand{CDB: cdb, Data: data, Timeout: 30000}
		err = n.SCSI(c)
	}
	return c, err
}

func (id *identity) print(p *printer, export bool) {
	rawModel := id.text(27, 40)
	model, serial, revision := cleanName(rawModel, 40), cleanName(id.text(10, 20), 20), cleanName(id.text(23, 8), 8)
	whole := model
	if serial != "" {
		whole += "_" + serial
	}
	if !export {
		p.line("%s", whole)
		return
	}
	p.line("ID_ATA=1")
	kind := "disk"
	if config := id.word(0) >> 8; config&0x80 != 0 {
		switch config & 0x1f {
		case 0, 5:
			kind = "cd"
		case 1:
			kind = "tape"
		case 7:
			kind = "optical"
		default:
			kind = "generic"
		}
	}
	p.line("ID_TYPE=%s", kind)
	p.line("ID_BUS=ata")
	p.line("ID_MODEL=%s", model)
	p.line("ID_MODEL_ENC=%s", encode(rawModel, 256))
	p.line("ID_REVISION=%s", revision)
	p.line("ID_SERIAL=%s", whole)
	if serial != "" {
		p.line("ID_SERIAL_SHORT=%s", serial)
	}
	set1, set2, on1, on2 := id.word(82), id.word(83), id.word(85), id.word(86)
	flag := func(name string, supported, enabled uint16, bit int) bool {
		if supported>>bit&1 == 0 {
			return false
		}
		p.line("%s=1", name)
		p.line("%s_ENABLED=%d", name, enabled>>bit&1)
		return true
	}
	flag("ID_ATA_WRITE_CACHE", set1, on1, 5)
	flag("ID_ATA_FEATURE_SET_HPA", set1, on1, 10)
	flag("ID_ATA_FEATURE_SET_PM", set1, on1, 3)
	if flag("ID_ATA_FEATURE_SET_SECURITY", set1, on1, 1) {
		lock := id.word(128)
		p.line("ID_ATA_FEATURE_SET_SECURITY_ERASE_UNIT_MIN=%d", int(id.word(89))*2)
		if on1>>1&1 != 0 {
			if lock>>8&1 != 0 {
				p.line("ID_ATA_FEATURE_SET_SECURITY_LEVEL=maximum")
			} else {
				p.line("ID_ATA_FEATURE_SET_SECURITY_LEVEL=high")
			}
		}
		if lock>>5&1 != 0 {
			p.line("ID_ATA_FEATURE_SET_SECURITY_ENHANCED_ERASE_UNIT_MIN=%d", int(id.word(90))*2)
		}
		for i, name := range [...]string{"EXPIRE", "FROZEN", "LOCKED"} {
			if lock>>(4-i)&1 != 0 {
				p.line("ID_ATA_FEATURE_SET_SECURITY_%s=1", name)
			}
		}
	}
	flag("ID_ATA_FEATURE_SET_SMART", set1, on1, 0)
	if flag("ID_ATA_FEATURE_SET_AAM", set2, on2, 9) {
		p.line("ID_ATA_FEATURE_SET_AAM_VENDOR_RECOMMENDED_VALUE=%d", id.word(94)>>8)
		p.line("ID_ATA_FEATURE_SET_AAM_CURRENT_VALUE=%d", id.word(94)&0xff)
	}
	flag("ID_ATA_FEATURE_SET_PUIS", set2, on2, 5)
	if flag("ID_ATA_FEATURE_SET_APM", set2, on2, 3) && on2>>3&1 != 0 {
		p.line("ID_ATA_FEATURE_SET_APM_CURRENT_VALUE=%d", id.word(91)&0xff)
	}
	if set2&1 != 0 {
		p.line("ID_ATA_DOWNLOAD_MICROCODE=1")
	}
	if sata := id.passedWord(76); sata != 0 && sata != 0xffff {
		p.line("ID_ATA_SATA=1")
		if sata>>2&1 != 0 {
			p.line("ID_ATA_SATA_SIGNAL_RATE_GEN2=1")
		}
		if sata>>1&1 != 0 {
			p.line("ID_ATA_SATA_SIGNAL_RATE_GEN1=1")
		}
	}
	switch rate := id.passedWord(217); {
	case rate == 1:
		p.line("ID_ATA_ROTATION_RATE_RPM=0")
	case rate >= 0x0401 && rate <= 0xfffe:
		p.line("ID_ATA_ROTATION_RATE_RPM=%d", rate)
	}
	if id.passedWord(108)&0xf000 == 0x5000 {
		wwn := uint64(id.passedWord(108))<<48 | uint64(id.passedWord(109))<<32 | uint64(id.passedWord(110))<<16 | uint64(id.passedWord(111))
		p.line("ID_WWN=0x%x", wwn)
		p.line("ID_WWN_WITH_EXTENSION=0x%x", wwn)
	}
	if w := id.passedWord(0); w == 0x848a || w == 0x844a || id.passedWord(83)&0xc004 == 0x4004 {
		p.line("ID_ATA_CFA=1")
	}
}
