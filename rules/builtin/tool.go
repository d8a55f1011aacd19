package builtin

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ToolFunc does what a helper program of udev's does: it prints to out what the program would print, and its error is
// an exit status that is not 0. args are the program's, without its name.
type ToolFunc func(ctx context.Context, call *Call, args []string, out io.Writer) error

// Tool returns the helper program of that name, or of that path's last part: ata_id, scsi_id, cdrom_id, v4l_id, fido_id,
// dmi_memory_id, mtd_probe. Rules call these; whoever runs programs for rules asks here for one that is not installed.
func (t *Table) Tool(name string) (ToolFunc, bool) {
	switch filepath.Base(name) {
	case "ata_id":
		return t.ataID, true
	case "scsi_id":
		return t.scsiID, true
	case "cdrom_id":
		return t.cdromID, true
	case "v4l_id":
		return t.v4lID, true
	case "fido_id":
		return t.fidoID, true
	case "dmi_memory_id":
		return t.dmiMemoryID, true
	case "mtd_probe":
		return t.mtdProbe, true
	}
	return nil, false
}

// openNamed opens the node of that name: the call's own device, as a rule.
func (t *Table) openNamed(call *Call, name string, flags int) (Node, error) {
	if name == "" {
		return nil, errors.New("no device is named")
	}
	dev := call.Device
	if strings.TrimPrefix(name, "/dev/") != dev.Devname() || dev.Devname() == "" {
		var err error
		if dev, err = call.Device.Roots().DeviceByNode(name); err != nil {
			return nil, err
		}
	}
	return t.opts.Open(dev, flags)
}

// printer prints a program's lines in one piece, when it is done.
type printer struct{ bytes.Buffer }

func (p *printer) line(format string, args ...any) {
	fmt.Fprintf(p, format, args...)
	p.WriteByte('\n')
}

// text returns what a device put into a field of fixed length, up to a NUL.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// v4lID says what a Video4Linux device can do. Kernel: include/uapi/linux/videodev2.h.
func (t *Table) v4lID(ctx context.Context, call *Call, args []string, out io.Writer) error {
	var name string
	if err := options(args, nil, nil, &name); err != nil {
		return err
	}
	n, err := t.openNamed(call, name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer n.Close()
	var b [104]byte
	if _, err := n.Ioctl(0x80685600, b[:]); err != nil { // VIDIOC_QUERYCAP
		return nil
	}
	const deviceCaps = 1 << 31
	caps := binary.NativeEndian.Uint32(b[84:])
	if caps&deviceCaps != 0 {
		caps = binary.NativeEndian.Uint32(b[88:])
	}
	list := ":"
	for _, c := range []struct {
		bits uint32
		name string
	}{{0x1001, "capture:"}, {0x2002, "video_output:"}, {0x4, "video_overlay:"}, {0x20000, "audio:"}, {0x10000, "tuner:"}, {0x40000, "radio:"}} {
		if caps&c.bits != 0 {
			list += c.name
		}
	}
	_, err = fmt.Fprintf(out, "ID_V4L_VERSION=2\nID_V4L_PRODUCT=%s\nID_V4L_CAPABILITIES=%s\n", text(b[16:48]), list)
	return err
}

// fidoID says whether the HID device above is a security token: its report descriptor names the usage 0xf1d00001. See
// HID 1.11, 6.2.2, and CTAP 2, 8.1.8.1.
func (t *Table) fidoID(ctx context.Context, call *Call, args []string, out io.Writer) error {
	dev := call.Device
	if len(args) > 1 {
		return errors.New("expected: fido_id [SYSPATH]")
	}
	if len(args) == 1 {
		devpath, ok := strings.CutPrefix(args[0], "/sys")
		if !ok {
			return fmt.Errorf("%s is not below /sys", args[0])
		}
		var err error
		if dev, err = call.Device.Roots().Device(devpath); err != nil {
			return err
		}
	}
	hid := dev.Parent()
	if hid == nil {
		return errors.New("there is no HID device above")
	}
	b, err := readBounded(sysPath(hid, "report_descriptor"), 4096)
	if err != nil {
		return err
	}
	is, err := isSecurityToken(b)
	if err != nil || !is {
		return err
	}
	_, err = io.WriteString(out, "ID_FIDO_TOKEN=1\nID_SECURITY_TOKEN=1\n")
	return err
}

func isSecurityToken(b []byte) (bool, error) {
	if len(b) == 0 {
		return false, errors.New("the report descriptor is empty")
	}
	cut := errors.New("the report descriptor ends in the middle of an item")
	usage := uint32(0)
	for pos := 0; pos < len(b); {
		head := b[pos]
		if head == 0xfe { // a long item: nobody has defined one
			if pos+1 >= len(b) {
				return false, cut
			}
			pos += int(b[pos+1]) + 3
			continue
		}
		size := int(head & 3)
		if size == 3 {
			size = 4
		}
		pos++
		if pos+size > len(b) {
			return false, cut
		}
		value := uint32(0)
		for i := range size {
			value |= uint32(b[pos+i]) << (8 * i)
		}
		pos += size
		switch head &^ 3 {
		case 0x04: // usage page
			if size > 2 {
				return false, errors.New("a usage page of more than 16 bits")
			}
			usage = value << 16
		case 0x08: // usage
			if size == 4 {
				usage = value
			} else {
				usage = usage&^0xffff | value&0xffff
			}
			if usage == 0xf1d00001 {
				return true, nil
			}
		}
	}
	return false, nil
}

// mtdProbe says whether a flash chip carries SmartMedia's translation layer. Kernel: include/uapi/mtd/mtd-abi.h.
func (t *Table) mtdProbe(ctx context.Context, call *Call, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("expected: mtd_probe DEVICE")
	}
	n, err := t.openNamed(call, args[0], unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer n.Close()
	var info [32]byte
	if _, err := n.Ioctl(0x80204d01, info[:]); err != nil { // MEMGETINFO
		return fmt.Errorf("ask for the chip's geometry: %w", err)
	}
	ne := binary.NativeEndian
	size, erase, write := ne.Uint32(info[8:]), ne.Uint32(info[12:]), ne.Uint32(info[16:])
	if info[0] != 4 || write != 512 && write != 256 {
		return ErrNothing
	}
	spare := int64(24)
	switch size >> 20 {
	case 1, 2:
		spare = 6
	case 4:
		spare = 12
	}
	const signature = "\x01\x03\xd9\x01\xff\x18\x02\xdf\x01\x20"
	var b [512]byte
	for i := int64(0); i < int64(erase)*spare; i += int64(write) {
		if m, _ := n.ReadAt(b[:], i/int64(write)*512); m != len(b) {
			continue
		}
		if string(b[:10]) != signature && string(b[256:266]) != signature {
			return ErrNothing
		}
		_, err := io.WriteString(out, "MTD_FTL=smartmedia\n")
		return err
	}
	return ErrNothing
}
