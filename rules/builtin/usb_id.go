package builtin

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/kudev/kudev/hotplug"
)

// usbID sets what a USB device says of itself: ID_VENDOR, ID_MODEL, ID_SERIAL and their fellows, the same once more
// with ID_USB_ in front, and the interfaces. A disk or CD drive behind a USB bridge gives its own SCSI vendor and
// model instead of the bridge's. Where ID_BUS is set already, only the ID_USB_ ones are set.
func (t *Table) usbID(ctx context.Context, call *Call) error {
	var vendor, vendorEnc, model, modelEnc, revision, kind, instance, number, driver string
	var haveNumber, haveDriver bool
	dev := call.Device
	usb := dev
	if dev.Devtype() != "usb_device" {
		intf := dev.ParentWith("usb", "usb_interface")
		if intf == nil {
			return ErrNothing
		}
		var err error
		if number, err = intf.Attr("bInterfaceNumber"); err == nil {
			haveNumber = true
		}
		if driver, err = intf.Attr("driver"); err == nil {
			haveDriver = true
		}
		text, err := intf.Attr("bInterfaceClass")
		if err != nil {
			return fmt.Errorf("interface's class: %w", err)
		}
		class, err := parseUint(text, 16, 32)
		if err != nil {
			return fmt.Errorf("interface's class %q: %w", text, err)
		}
		protocol := uint64(0)
		if class == 8 {
			if sub, err := intf.Attr("bInterfaceSubClass"); err == nil {
				kind, protocol = massStorageKind(sub)
			}
		} else {
			kind = interfaceKind(class)
		}
		if usb = intf.ParentWith("usb", "usb_device"); usb == nil {
			return ErrNothing
		}
		if protocol == 6 || protocol == 2 {
			if scsi := dev.ParentWith("scsi", "scsi_device"); scsi != nil {
				if n, ok := hctl(scsi.Sysname()); ok {
					// Each step stands although a later attribute is missing.
					v, err := scsi.Attr("vendor")
					if err == nil {
						vendor, vendorEnc = cleanName(v, 63), encode(v, 256)
						v, err = scsi.Attr("model")
					}
					if err == nil {
						model, modelEnc = cleanName(v, 63), encode(v, 256)
						v, err = scsi.Attr("type")
					}
					if err == nil {
						kind = scsiKind(v)
						v, err = scsi.Attr("rev")
					}
					if err == nil {
						revision = cleanName(v, 63)
						// Some devices have the same identifiers in all units.
						instance = fmt.Sprintf("%d:%d", n[2], n[3])
					}
				}
			}
		}
	}
	interfaces := usbInterfaces(usb)

	vendorID, err := usb.Attr("idVendor")
	if err != nil {
		return fmt.Errorf("idVendor: %w", err)
	}
	productID, err := usb.Attr("idProduct")
	if err != nil {
		return fmt.Errorf("idProduct: %w", err)
	}
	if vendor == "" {
		v, err := usb.Attr("manufacturer")
		if err != nil {
			v = vendorID
		}
		vendor, vendorEnc = cleanName(v, 63), encode(v, 256)
	}
	if model == "" {
		v, err := usb.Attr("product")
		if err != nil {
			v = productID
		}
		model, modelEnc = cleanName(v, 63), encode(v, 256)
	}
	if revision == "" {
		revision = cleanName(attr(usb, "bcdDevice"), 63)
	}
	short := ""
	if s := attr(usb, "serial"); usableSerial(s) {
		short = cleanName(s, 511)
	}
	serial := vendor + "_" + model
	if short != "" {
		serial += "_" + short
	}
	if instance != "" {
		serial += "-" + instance
	}
	if len(serial) > 255 {
		serial = serial[:255]
	}

	if _, ok := call.Get("ID_BUS"); !ok {
		call.Set("ID_BUS", "usb")
		set(call, "ID_", model, modelEnc, productID, serial, short, vendor, vendorEnc, vendorID, revision, kind, instance)
	}
	set(call, "ID_USB_", model, modelEnc, productID, serial, short, vendor, vendorEnc, vendorID, revision, kind, instance)
	if interfaces != "" {
		call.Set("ID_USB_INTERFACES", interfaces)
	}
	if haveNumber {
		call.Set("ID_USB_INTERFACE_NUM", number)
	}
	if haveDriver {
		call.Set("ID_USB_DRIVER", driver)
	}
	return nil
}

func set(call *Call, prefix, model, modelEnc, productID, serial, short, vendor, vendorEnc, vendorID, revision, kind, instance string) {
	call.Set(prefix+"MODEL", model)
	call.Set(prefix+"MODEL_ENC", modelEnc)
	call.Set(prefix+"MODEL_ID", productID)
	call.Set(prefix+"SERIAL", serial)
	if short != "" {
		call.Set(prefix+"SERIAL_SHORT", short)
	}
	call.Set(prefix+"VENDOR", vendor)
	call.Set(prefix+"VENDOR_ENC", vendorEnc)
	call.Set(prefix+"VENDOR_ID", vendorID)
	call.Set(prefix+"REVISION", revision)
	if kind != "" {
		call.Set(prefix+"TYPE", kind)
	}
	if instance != "" {
		call.Set(prefix+"INSTANCE", instance)
	}
}

// usableSerial says whether a serial number is plain text, as far as it may be: no control characters, no comma,
// nothing beyond ASCII.
func usableSerial(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7f || s[i] == ',' {
			return false
		}
	}
	return true
}

// interfaceKind names an interface's class. See usb.org, Defined Class Codes.
func interfaceKind(class uint64) string {
	switch class {
	case 1:
		return "audio"
	case 3:
		return "hid"
	case 6:
		return "media"
	case 7:
		return "printer"
	case 8:
		return "storage"
	case 9:
		return "hub"
	case 0x0e:
		return "video"
	}
	return "generic"
}

// massStorageKind names a mass storage interface's subclass.
func massStorageKind(sub string) (string, uint64) {
	n, err := parseUint(sub, 0, 31)
	if err != nil {
		return "generic", 0
	}
	switch n {
	case 1:
		return "rbc", n
	case 2:
		return "atapi", n
	case 3:
		return "tape", n
	case 4:
		return "floppy", n
	case 6:
		return "scsi", n
	}
	return "generic", n
}

// scsiKind names a SCSI peripheral device type as usb_id does.
func scsiKind(kind string) string {
	n, err := parseUint(kind, 0, 32)
	if err != nil {
		return "generic"
	}
	switch n {
	case 0, 0xe:
		return "disk"
	case 1:
		return "tape"
	case 4, 7, 0xf:
		return "optical"
	case 5:
		return "cd"
	}
	return "generic"
}

// usbInterfaces lists the interfaces of all configurations, each kind once, as ":CCSSPP:…:", from the raw descriptors.
func usbInterfaces(dev *hotplug.Device) string {
	const descriptor = 9 // the length of an interface descriptor
	buf, err := readBounded(sysPath(dev, "descriptors"), 18+65535)
	if err != nil || len(buf) < 18 {
		return ""
	}
	var b strings.Builder
	for pos := 0; pos+descriptor < len(buf) && b.Len()+7 < 510; {
		d := buf[pos:]
		length := int(d[0])
		if length < 3 {
			break
		}
		if length > len(buf)-descriptor {
			return ""
		}
		pos += length
		if d[1] != 4 { // an interface
			continue
		}
		piece := fmt.Sprintf(":%02x%02x%02x", d[5], d[6], d[7])
		if !strings.Contains(b.String(), piece) {
			b.WriteString(piece)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return b.String() + ":"
}

// itoa is short for strconv.Itoa.
func itoa(n int) string { return strconv.Itoa(n) }
