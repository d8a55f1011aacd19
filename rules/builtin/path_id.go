package builtin

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/kudev/kudev/hotplug"
)

// pathID sets ID_PATH, ID_PATH_TAG, and for disks behind ATA ID_PATH_ATA_COMPAT: a name of a device made of the way to
// it, from its controller on. It says nothing of a device whose way begins at a bus it does not know, or of a disk
// behind no known transport: such a name could belong to two devices.
func (t *Table) pathID(ctx context.Context, call *Call) error {
	w := walk{dev: call.Device, revision: t.opts.Udev >= 255}
	if err := w.run(); err != nil {
		return err
	}
	if w.path == "" || !w.supportedParent {
		return ErrNothing
	}
	if call.Device.Subsystem() == "block" && !w.supportedTransport {
		return ErrNothing
	}
	if i := strings.Index(w.path, "-usbv"); i >= 0 && len(w.path) > i+6 && isDigit(w.path[i+5]) && w.path[i+6] == '-' {
		call.Set("ID_PATH_WITH_USB_REVISION", w.path)
		w.path = w.path[:i+4] + w.path[i+6:]
	}
	call.Set("ID_PATH", w.path)
	call.Set("ID_PATH_TAG", pathTag(w.path))
	if w.compat != "" {
		call.Set("ID_PATH_ATA_COMPAT", w.compat)
	}
	return nil
}

// pathTag makes a tag's name of a path: anything but letters, digits and '-' becomes one '_', none at the ends.
func pathTag(path string) string {
	b := make([]byte, 0, len(path))
	for i := range len(path) {
		c := path[i]
		switch {
		case isDigit(c), c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-':
			b = append(b, c)
		case len(b) > 0 && b[len(b)-1] != '_':
			b = append(b, '_')
		}
	}
	for len(b) > 0 && b[len(b)-1] == '_' {
		b = b[:len(b)-1]
	}
	return string(b)
}

// walk is the way up from a device to the root of its bus, and the name composed on it.
type walk struct {
	dev                *hotplug.Device
	path, compat       string
	supportedTransport bool
	supportedParent    bool
	revision           bool // of USB's root hub goes into the path
}

func (w *walk) prepend(piece string) {
	if w.path != "" {
		piece += "-" + w.path
	}
	w.path = piece
}

// prependBoth goes into the compatible path as well, when there is one already.
func (w *walk) prependBoth(piece string) {
	w.prepend(piece)
	if w.compat != "" {
		w.compat = piece + "-" + w.compat
	}
}

func (w *walk) run() error {
	for at := w.dev; at != nil; at = at.Parent() {
		name := at.Sysname()
		switch subsystem := at.Subsystem(); subsystem {
		case "scsi_tape":
			w.tape(name)
		case "scsi":
			at = w.scsi(at)
			w.supportedTransport = true
		case "cciss":
			w.supportedTransport = true
			var disk uint64
			if p := scan(name); !p.lit("c").num(10, 0, new(uint64)).lit("d").num(10, 0, &disk).ok || p.s == "" {
				return nil
			}
			w.prepend("cciss-disk" + strconv.FormatUint(disk, 10))
			at = last(at, "cciss")
		case "usb":
			at = w.usb(at)
			w.supportedTransport = true
		case "bcma":
			w.supportedTransport = true
			var core uint64
			if p := scan(name); !p.lit("bcma").num(10, 0, new(uint64)).lit(":").num(10, 0, &core).ok {
				return nil
			}
			w.prepend("bcma-" + strconv.FormatUint(core, 10))
		case "serio":
			if n := at.Sysnum(); n != "" {
				w.prepend("serio-" + n)
				at = last(at, "serio")
			}
		case "pci", "acpi", "xen":
			w.prependBoth(subsystem + "-" + name)
			at = last(at, subsystem)
			w.supportedParent = true
		case "platform", "scm", "ccw", "ccwgroup", "iucv":
			w.prependBoth(subsystem + "-" + name)
			at = last(at, subsystem)
			w.supportedTransport, w.supportedParent = true, true
		case "virtio":
			at = last(at, "virtio")
			w.supportedTransport = true
		case "ap":
			kind, err1 := at.Attr("type")
			functions, err2 := at.Attr("ap_functions")
			if err1 == nil && err2 == nil {
				w.prepend("ap-" + kind + "-" + functions)
			} else {
				w.prepend("ap-" + name)
			}
			at = last(at, "ap")
			w.supportedTransport, w.supportedParent = true, true
		case "nvme", "nvme-subsystem":
			nsid, err := w.dev.Attr("nsid")
			if err != nil {
				break
			}
			w.prependBoth("nvme-" + nsid)
			if subsystem == "nvme-subsystem" {
				if at, err = nvmeController(w.dev); err != nil {
					return err
				}
			}
			at = last(at, "nvme")
			w.supportedTransport, w.supportedParent = true, true
		case "spi":
			if n := at.Sysnum(); n != "" {
				w.prepend("cs-" + n)
				at = last(at, "spi")
			}
		}
		if at == nil {
			break
		}
	}
	return nil
}

// last returns the topmost of the devices of one subsystem that lie directly above each other, dev the lowest.
func last(dev *hotplug.Device, subsystem string) *hotplug.Device {
	for p := dev; p != nil && p.Subsystem() == subsystem; p = p.Parent() {
		dev = p
	}
	return dev
}

// nvmeController finds the controller of a namespace that hangs at a multipath subsystem
// (/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1): its name says which.
func nvmeController(dev *hotplug.Device) (*hotplug.Device, error) {
	name := dev.Sysname()
	var n uint64
	if p := scan(name); !p.lit("nvme").num(10, 0, &n).ok {
		return nil, ErrNothing
	}
	ctrl, err := dev.Roots().DeviceByID(fmt.Sprintf("+nvme:nvme%d", n))
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(ctrl.Devpath(), "/devices/virtual/") {
		return nil, ErrNothing
	}
	return ctrl, nil
}

// tape tells the nodes of one drive apart by the letter of their mode. It counts only as the first piece.
func (w *walk) tape(name string) {
	if w.path != "" {
		return
	}
	for _, prefix := range []string{"nst", "st"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && (rest == "" || strings.IndexByte("lma", rest[0]) >= 0) {
			if rest == "" {
				w.prepend(prefix)
			} else {
				w.prepend(prefix + rest[:1])
			}
			return
		}
	}
}

func (w *walk) usb(dev *hotplug.Device) *hotplug.Device {
	if d := dev.Devtype(); d != "usb_interface" && d != "usb_device" {
		return dev
	}
	_, port, ok := strings.Cut(dev.Sysname(), "-")
	if !ok {
		return dev
	}
	hub := last(dev, "usb")
	// The bus number changes from boot to boot, the ports below it do not.
	bus := "usb-0:"
	if w.revision {
		if r := usbRevision(hub); r > 0 {
			bus = fmt.Sprintf("usbv%d-0:", r)
		}
	}
	w.prepend(bus + port)
	return hub
}

// usbRevision returns the major revision that a root hub speaks, 0 when that cannot be told. See USB 3.2, 10.15.1:
// bDeviceProtocol of a hub.
func usbRevision(hub *hotplug.Device) int {
	protocol, err := parseUint(attr(hub, "bDeviceProtocol"), 16, 8)
	if err != nil {
		return 0
	}
	switch protocol {
	case 0: // full speed, or high speed without a transaction translator
		if attr(hub, "speed") == "480" {
			return 2
		}
		return 1
	case 1, 2:
		return 2
	case 3:
		return 3
	}
	return 0
}

func (w *walk) scsi(dev *hotplug.Device) *hotplug.Device {
	if dev.Devtype() != "scsi_device" {
		return dev
	}
	if id, err := dev.Attr("ieee1394_id"); err == nil {
		w.prepend("ieee1394-0x" + id)
		w.supportedParent = true
		return last(dev, "scsi")
	}
	// The transport is no subsystem: only the path tells it.
	path := dev.Devpath()
	switch {
	case strings.Contains(path, "/rport-"):
		w.supportedParent = true
		return w.fibreChannel(dev)
	case strings.Contains(path, "/end_device-"):
		w.supportedParent = true
		return w.sas(dev)
	case strings.Contains(path, "/session"):
		w.supportedParent = true
		return w.iscsi(dev)
	case strings.Contains(path, "/ata"):
		return w.ata(dev)
	case strings.Contains(path, "/vmbus_"):
		return w.hyperv(dev, 37)
	case strings.Contains(path, "/VMBUS"):
		return w.hyperv(dev, 38)
	}
	return w.scsiDefault(dev)
}

// lun returns the piece for a logical unit: the kernel's 32-bit number, in the format of its address method.
func lun(dev *hotplug.Device) string {
	num := dev.Sysnum()
	if num == "" {
		return "(null)" // so udev spells it
	}
	n, _ := strconv.ParseUint(num, 10, 64)
	if n < 256 {
		return fmt.Sprintf("lun-%d", n)
	}
	return fmt.Sprintf("lun-0x%04x%04x00000000", n&0xffff, n>>16&0xffff)
}

// classDevice returns the device of a class that has the name of another device.
func classDevice(dev *hotplug.Device, class, name string) *hotplug.Device {
	d, err := dev.Roots().DeviceByID("+" + class + ":" + name)
	if err != nil {
		return nil
	}
	return d
}

func (w *walk) fibreChannel(dev *hotplug.Device) *hotplug.Device {
	target := dev.ParentWith("scsi", "scsi_target")
	if target == nil {
		return nil
	}
	fc := classDevice(dev, "fc_transport", target.Sysname())
	if fc == nil {
		return nil
	}
	port, err := fc.Attr("port_name")
	if err != nil {
		return nil
	}
	w.prepend("fc-" + port + "-" + lun(dev))
	return dev
}

func (w *walk) sas(dev *hotplug.Device) *hotplug.Device {
	target := dev.ParentWith("scsi", "scsi_target")
	if target == nil {
		return nil
	}
	end := target.Parent()
	if end == nil {
		return nil
	}
	endSAS := classDevice(dev, "sas_device", end.Sysname())
	port := end.Parent()
	if endSAS == nil || port == nil {
		return nil
	}
	portSAS := classDevice(dev, "sas_port", port.Sysname())
	if portSAS == nil {
		return nil
	}
	phys, err := portSAS.Attr("num_phys")
	if err != nil {
		return nil
	}
	if phys != "1" { // a wide port: the phy would be one of several
		address, err := endSAS.Attr("sas_address")
		if err != nil {
			return nil
		}
		w.prepend("sas-" + address + "-" + lun(dev))
		return dev
	}
	phy, err := endSAS.Attr("phy_identifier")
	if err != nil {
		return nil
	}
	above := port.Parent() // the adapter or an expander
	if above == nil {
		return nil
	}
	if expander := classDevice(dev, "sas_device", above.Sysname()); expander != nil {
		address, err := expander.Attr("sas_address")
		if err != nil {
			return nil
		}
		w.prepend("sas-exp" + address + "-phy" + phy + "-" + lun(dev))
	} else {
		w.prepend("sas-phy" + phy + "-" + lun(dev))
	}
	return dev
}

func (w *walk) iscsi(dev *hotplug.Device) *hotplug.Device {
	session := dev.Parent()
	for session != nil && !strings.HasPrefix(session.Sysname(), "session") {
		session = session.Parent()
	}
	if session == nil || session.Sysnum() == "" {
		return nil
	}
	class := classDevice(dev, "iscsi_session", session.Sysname())
	conn := classDevice(dev, "iscsi_connection", "connection"+session.Sysnum()+":0")
	if class == nil || conn == nil {
		return nil
	}
	target, err1 := class.Attr("targetname")
	addr, err2 := conn.Attr("persistent_address")
	port, err3 := conn.Attr("persistent_port")
	if err1 != nil || err2 != nil || err3 != nil {
		return nil
	}
	w.prepend("ip-" + addr + ":" + port + "-iscsi-" + target + "-" + lun(dev))
	return dev
}

// hctl reads a SCSI device's name: host:channel:target:lun.
func hctl(name string) (n [4]uint64, ok bool) {
	p := scan(name)
	return n, p.num(10, 0, &n[0]).lit(":").num(10, 0, &n[1]).lit(":").num(10, 0, &n[2]).lit(":").num(10, 0, &n[3]).ok
}

func (w *walk) ata(dev *hotplug.Device) *hotplug.Device {
	n, ok := hctl(dev.Sysname())
	host := dev.ParentWith("scsi", "scsi_host")
	if !ok || host == nil || host.Parent() == nil {
		return nil
	}
	port := classDevice(dev, "ata_port", host.Parent().Sysname())
	if port == nil {
		return nil
	}
	no, err := port.Attr("port_no")
	if err != nil {
		return nil
	}
	if n[1] != 0 { // behind a port multiplier
		w.prepend(fmt.Sprintf("ata-%s.%d.0", no, n[1]))
	} else {
		w.prepend(fmt.Sprintf("ata-%s.%d", no, n[2]))
	}
	w.compat = "ata-" + no + dash(w.compat)
	return dev
}

func dash(s string) string {
	if s == "" {
		return ""
	}
	return "-" + s
}

func (w *walk) hyperv(dev *hotplug.Device, length int) *hotplug.Device {
	host := dev.ParentWith("scsi", "scsi_host")
	if host == nil || host.Parent() == nil {
		return nil
	}
	guid, err := host.Parent().Attr("device_id")
	if err != nil || len(guid) < length || guid[0] != '{' || guid[length-1] != '}' {
		return nil
	}
	w.prepend("vmbus-" + strings.ReplaceAll(guid[1:length-1], "-", "") + "-" + lun(dev))
	return dev
}

// scsiDefault names a unit by its address, with the host counted from the first one of the same controller, for want
// of anything better that the kernel would say.
func (w *walk) scsiDefault(dev *hotplug.Device) *hotplug.Device {
	host := dev.ParentWith("scsi", "scsi_host")
	n, ok := hctl(dev.Sysname())
	if host == nil || !ok {
		return nil
	}
	entries, err := os.ReadDir(sysPath(host, ".."))
	if err != nil {
		return nil
	}
	first := int64(-1)
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), "host")
		if !ok || !e.IsDir() && e.Type() != os.ModeSymlink {
			continue
		}
		if i, err := strconv.ParseUint(digits, 10, 31); err == nil && (first < 0 || int64(i) < first) {
			first = int64(i)
		}
	}
	if first >= 0 {
		w.prepend(fmt.Sprintf("scsi-%d:%d:%d:%d", int64(n[0])-first, n[1], n[2], n[3]))
	}
	return host
}
