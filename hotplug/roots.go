package hotplug

// Roots are the directories that stand for /sys, /dev and /run. An empty field means the real one. What is shown to
// rules, programs and listeners is always spelled /sys, /dev and /run: only reading and writing go elsewhere.
type Roots struct {
	Sys, Dev, Run string
}

// Device returns the device at devpath (as in DEVPATH: "/devices/…", without the /sys in front). The error satisfies
// errors.Is(err, fs.ErrNotExist) when sysfs has no such device.
func (r Roots) Device(devpath string) (*Device, error) { panic("not built yet") }

// EventDevice returns the device that ev speaks of. Properties are the event's own, and it works after the device has
// gone from sysfs: attributes then read as absent.
func (r Roots) EventDevice(ev *Event) *Device { panic("not built yet") }

// DeviceByID returns the device that udev's database calls id: bMAJ:MIN, cMAJ:MIN, nIFINDEX or +subsystem:sysname.
func (r Roots) DeviceByID(id string) (*Device, error) { panic("not built yet") }

// DeviceByNode returns the device whose node or link is name, with or without /dev/ in front.
func (r Roots) DeviceByNode(name string) (*Device, error) { panic("not built yet") }
