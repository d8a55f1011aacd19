package hotplug

import "iter"

// Devnum is a device number.
type Devnum struct {
	Major, Minor uint32
}

// Device is a directory of sysfs, or what is left of one when its event arrives after it has gone. Reads go to the
// file system each time, but for the uevent file and the links, which are read once.
// A Device may be used by one goroutine at a time.
type Device struct {
	roots Roots
}

func (d *Device) Roots() Roots      { return d.roots }
func (d *Device) Devpath() string   { panic("not built yet") } // /devices/pci0000:00/0000:00:1f.2
func (d *Device) Syspath() string   { panic("not built yet") } // /sys/devices/…: as rules see it, whatever Roots.Sys is
func (d *Device) Sysname() string   { panic("not built yet") } // the last component, with '!' turned to '/'
func (d *Device) Sysnum() string    { panic("not built yet") } // the digits at the end of Sysname, "" for none
func (d *Device) Subsystem() string { panic("not built yet") }
func (d *Device) Devtype() string   { panic("not built yet") }
func (d *Device) Driver() string    { panic("not built yet") }
func (d *Device) Devname() string   { panic("not built yet") } // the kernel's name of the node below /dev, "" for none

// Devnum returns the device number, and whether the device has one.
func (d *Device) Devnum() (Devnum, bool) { panic("not built yet") }

// Ifindex returns a network interface's index, 0 for another device.
func (d *Device) Ifindex() int { panic("not built yet") }

// ID returns the device's name in udev's database: bMAJ:MIN, cMAJ:MIN, nIFINDEX or +subsystem:sysname.
func (d *Device) ID() string { panic("not built yet") }

// Parent returns the nearest device above this one, nil at the top.
func (d *Device) Parent() *Device { panic("not built yet") }

// ParentWith returns the nearest device above this one of the subsystem and, where it is not "", the devtype.
func (d *Device) ParentWith(subsystem, devtype string) *Device { panic("not built yet") }

// Attr reads an attribute as udev does: trailing newlines removed, a link's base name for a link. A directory, and a
// file that cannot be read, is an error that satisfies errors.Is(err, fs.ErrNotExist) where nothing has that name.
func (d *Device) Attr(name string) (string, error) { panic("not built yet") }

// SetAttr writes an attribute.
func (d *Device) SetAttr(name, value string) error { panic("not built yet") }

// Property returns a property as the kernel gives it: of the event, or of the uevent file.
func (d *Device) Property(key string) (string, bool) { panic("not built yet") }

// Properties ranges over the kernel's properties.
func (d *Device) Properties() iter.Seq2[string, string] { panic("not built yet") }

// Record reads what /run/udev/data holds of the device. The error satisfies errors.Is(err, fs.ErrNotExist) when it
// holds nothing.
func (d *Device) Record() (*Record, error) { panic("not built yet") }
