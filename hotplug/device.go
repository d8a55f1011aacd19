package hotplug

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Devnum is a device number.
type Devnum struct {
	Major, Minor uint32
}

// Device is a directory of sysfs, or what is left of one when its event arrives after it has gone. What was read once
// is kept, as udev keeps it for one event: its uevent file, its links, its attributes, its parents. Who wants to see a
// later state makes a new Device. A Device may be used by one goroutine at a time.
type Device struct {
	roots   Roots
	devpath string
	event   *Event // nil for a device read from sysfs

	sysname, id       string
	subsystem, driver string
	driverBus         string // of a device of subsystem "drivers"
	have              uint8
	identity          Identity
	known             func(devpath string) (Identity, bool)
	parent            *Device
	uevent            []Pair // the uevent file's
	attrs             map[string]attribute
	record            *Record
	recordErr         error
}

const (
	haveSubsystem = 1 << iota
	haveDriver
	haveParent
	haveUevent
	haveIdentity
	haveRecord
)

// Identity is what does not change of a device as long as it is there: its subsystem, kind, number and interface. Whoever hears
// of all devices knows it of those above one without a look at sysfs: see [Device.Knowing].
type Identity struct {
	Subsystem string
	Devtype   string
	Devnum    Devnum
	Numbered  bool // it has a device number
	Ifindex   int  // 0 for what is no network interface
}

type attribute struct {
	value string
	err   error
}

// Pair is a key and its value.
type Pair struct{ Key, Value string }

// Roots are the directories that the device was found in.
func (d *Device) Roots() Roots { return d.roots }

// Event is the event that the device was made from, nil for one read from sysfs.
func (d *Device) Event() *Event { return d.event }

// Devpath is the device's path in sysfs without /sys in front: /devices/pci0000:00/0000:00:1f.2.
func (d *Device) Devpath() string { return d.devpath }

// Syspath is /sys/devices/…: as rules see it, whatever Roots.Sys is.
func (d *Device) Syspath() string { return "/sys" + d.devpath }

// Name is the last component of the devpath as it stands there.
func (d *Device) Name() string { return d.devpath[strings.LastIndexByte(d.devpath, '/')+1:] }

// Sysname is the kernel's name of the device: the last component of the devpath, with each '!' turned to '/'.
func (d *Device) Sysname() string {
	if d.sysname == "" {
		d.sysname = strings.ReplaceAll(d.Name(), "!", "/")
	}
	return d.sysname
}

// Sysnum is the digits at the end of Sysname, "" for none or when there is nothing else.
func (d *Device) Sysnum() string {
	name := d.Sysname()
	rest := strings.TrimRight(name, "0123456789")
	if rest == "" {
		return ""
	}
	return name[len(rest):]
}

// Exists says whether sysfs still has the device.
func (d *Device) Exists() bool {
	_, err := d.roots.sys().lstat(d.devpath)
	return err == nil
}

// Subsystem is the bus or class of the device; "module", "drivers" and "subsystem" are those of /sys/module/…, of
// …/drivers/… and of the classes and buses themselves. "" when it has none.
func (d *Device) Subsystem() string {
	if d.have&haveSubsystem == 0 {
		d.have |= haveSubsystem
		d.subsystem, d.driverBus = d.readSubsystem()
	}
	return d.subsystem
}

func (d *Device) readSubsystem() (name, bus string) {
	if d.event != nil {
		name = d.event.Subsystem()
	}
	if name == "" {
		if target, err := d.roots.sys().readlink(d.devpath + "/subsystem"); err == nil {
			return path.Base(target), ""
		}
	}
	before, _, drivers := strings.Cut(d.devpath+"/", "/drivers/")
	switch {
	case name != "" && name != "drivers":
		return name, ""
	case drivers:
		return "drivers", path.Base(before)
	case name != "":
		return name, ""
	case strings.HasPrefix(d.devpath, "/module/"):
		return "module", ""
	case strings.HasPrefix(d.devpath, "/class/"), strings.HasPrefix(d.devpath, "/bus/"), strings.HasPrefix(d.devpath, "/subsystem/"):
		return "subsystem", ""
	}
	return "", ""
}

// Driver is the name of the driver that is bound to the device, "" for none.
func (d *Device) Driver() string {
	if d.have&haveDriver == 0 {
		d.have |= haveDriver
		if d.event != nil {
			if driver, ok := d.event.Get("DRIVER"); ok {
				d.driver = driver
				return driver
			}
		}
		if target, err := d.roots.sys().readlink(d.devpath + "/driver"); err == nil {
			d.driver = path.Base(target)
		}
	}
	return d.driver
}

// Devtype is the kind of device within its subsystem: disk, partition, usb_interface…; "" for none.
func (d *Device) Devtype() string { return d.identify().Devtype }

// identify reads what else than the subsystem is the device's identity, once.
func (d *Device) identify() *Identity {
	if d.have&haveIdentity == 0 {
		d.have |= haveIdentity
		i := &d.identity
		i.Devtype = d.value("DEVTYPE")
		i.Devnum, i.Numbered = parseDevnum(d.value("MAJOR"), d.value("MINOR"))
		n, _ := strconv.ParseUint(d.value("IFINDEX"), 10, 31)
		i.Ifindex = int(n)
	}
	return &d.identity
}

// Devname is the kernel's name of the node below /dev, without /dev/ in front; "" for none, and for one that would lead
// out of /dev.
func (d *Device) Devname() string {
	if name := strings.TrimPrefix(d.value("DEVNAME"), "/dev/"); validLink(name) {
		return name
	}
	return ""
}

// Devnum returns the device number, and whether the device has one.
func (d *Device) Devnum() (Devnum, bool) {
	i := d.identify()
	return i.Devnum, i.Numbered
}

// IsBlock says whether the device's node is a block device.
func (d *Device) IsBlock() bool { return d.Subsystem() == "block" }

// Ifindex returns a network interface's index, 0 for another device.
func (d *Device) Ifindex() int { return d.identify().Ifindex }

// ID returns the device's name in udev's database: bMAJ:MIN, cMAJ:MIN, nIFINDEX or +subsystem:sysname; "" for a device
// that has no subsystem. It is a valid file name.
func (d *Device) ID() string {
	if d.id == "" {
		d.id = d.makeID()
	}
	return d.id
}

func (d *Device) makeID() string {
	subsystem := d.Subsystem()
	if num, ok := d.Devnum(); ok {
		if subsystem == "block" {
			return "b" + num.String()
		}
		return "c" + num.String()
	}
	if n := d.Ifindex(); n > 0 {
		return "n" + strconv.Itoa(n)
	}
	id := "+" + subsystem + ":" + d.Name()
	if subsystem == "drivers" {
		id = "+drivers:" + d.driverBus + ":" + d.Name()
	}
	if subsystem == "" || strings.ContainsRune(id, '/') || len(id) > 255 {
		return ""
	}
	return id
}

// Parent returns the nearest device above this one, nil at the top.
func (d *Device) Parent() *Device {
	if d.have&haveParent == 0 {
		d.have |= haveParent
		for up := d.devpath; ; {
			if up = up[:strings.LastIndexByte(up, '/')]; up == "" || up == "/devices" || up == "/devices/virtual" {
				break // no devices, whoever asks
			}
			if d.known != nil {
				if i, ok := d.known(up); ok && strings.HasPrefix(up, "/devices/") {
					d.parent = &Device{roots: d.roots, devpath: up, known: d.known, identity: i, subsystem: i.Subsystem, have: haveIdentity | haveSubsystem}
					break
				}
			}
			if d.roots.isDevice(up) {
				d.parent = &Device{roots: d.roots, devpath: up, known: d.known}
				break
			}
		}
	}
	return d.parent
}

// Knowing makes lookup say what the devices above this one are, by their devpaths. Of one of which it says nothing sysfs is
// read. What it says must hold as long as the device does.
func (d *Device) Knowing(lookup func(devpath string) (Identity, bool)) { d.known = lookup }

// ParentWith returns the nearest device above this one of the subsystem and, where it is not "", the devtype.
func (d *Device) ParentWith(subsystem, devtype string) *Device {
	for p := d.Parent(); p != nil; p = p.Parent() {
		if p.Subsystem() == subsystem && (devtype == "" || p.Devtype() == devtype) {
			return p
		}
	}
	return nil
}

// Children returns the devices right below this one: those with no other device between.
func (d *Device) Children() []*Device {
	var all []*Device
	var walk func(dir string, depth int)
	walk = func(dir string, depth int) {
		names, err := d.roots.sys().readDir(dir)
		if err != nil || depth > 8 {
			return
		}
		for _, name := range names {
			at := dir + "/" + name
			if mode, err := d.roots.sys().lstat(at); err != nil || !mode.IsDir() {
				continue
			}
			if mode, err := d.roots.sys().lstat(at + "/uevent"); err == nil && mode.IsRegular() {
				all = append(all, &Device{roots: d.roots, devpath: at})
			} else {
				walk(at, depth+1)
			}
		}
	}
	walk(d.devpath, 0)
	return all
}

// inside is the place of a name below the device's directory. The name may go up with "..", though never out of sysfs.
func (d *Device) inside(name string) string { return d.devpath + "/" + strings.TrimLeft(name, "/") }

// Attr reads an attribute as udev does: what stands before a NUL, trailing newlines removed; of the links driver, subsystem and module the last
// part of what they say. Any other link, a directory and a file that may not be read are errors; one that satisfies
// errors.Is(err, fs.ErrNotExist) means that nothing has that name. The first answer is kept.
func (d *Device) Attr(name string) (string, error) {
	if a, ok := d.attrs[name]; ok {
		return a.value, a.err
	}
	value, err := d.readAttr(name)
	d.keep(name, attribute{value, err})
	return value, err
}

func (d *Device) readAttr(name string) (string, error) {
	if name == "" || strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("attribute %q: %w", name, fs.ErrInvalid)
	}
	at := d.inside(name)
	switch name {
	case "driver", "subsystem", "module":
		if target, err := d.roots.sys().readlink(at); err == nil {
			return path.Base(target), nil
		}
	}
	value, err := d.roots.sys().readFlags(at, unix.O_NOFOLLOW)
	if err != nil {
		return "", &attributeError{name, d.devpath, err}
	}
	if end := strings.IndexByte(value, 0); end >= 0 { // texts of a device tree end in one
		value = value[:end]
	}
	return strings.TrimRight(value, "\n\r"), nil
}

// attributeError says which attribute could not be read. Most that rules ask for are not there, and nobody reads the message.
type attributeError struct {
	name, devpath string
	err           error
}

func (e *attributeError) Error() string {
	return "attribute " + e.name + " of " + e.devpath + ": " + e.err.Error()
}

func (e *attributeError) Unwrap() error { return e.err }

// SetAttr writes an attribute, without newlines at its end, at most 4096 bytes. Attr gives the written value from then on.
func (d *Device) SetAttr(name, value string) error {
	value = strings.TrimRight(value, "\n\r")
	if len(value) > 4096 || name == "" {
		return fmt.Errorf("attribute %s of %s: value of %d bytes: %w", name, d.devpath, len(value), fs.ErrInvalid)
	}
	delete(d.attrs, name)
	if err := d.roots.sys().write(d.inside(name), value); err != nil {
		return fmt.Errorf("attribute %s of %s: %w", name, d.devpath, err)
	}
	if name != "uevent" {
		d.keep(name, attribute{value: value})
	}
	return nil
}

func (d *Device) keep(name string, a attribute) {
	if d.attrs == nil {
		d.attrs = make(map[string]attribute)
	}
	d.attrs[name] = a
}

// Stat returns the mode of what a name below the device leads to, links followed; "" is the device's directory.
func (d *Device) Stat(name string) (fs.FileMode, error) { return d.roots.sys().stat(d.inside(name)) }

// ReadDir returns the sorted names in a directory below the device; "" is the device's own.
func (d *Device) ReadDir(name string) ([]string, error) { return d.roots.sys().readDir(d.inside(name)) }

// Readlink returns the last part of what a link below the device says.
func (d *Device) Readlink(name string) (string, error) {
	target, err := d.roots.sys().readlink(d.inside(name))
	if err != nil {
		return "", err
	}
	return path.Base(target), nil
}

// Link returns the device that a link below this one leads to.
func (d *Device) Link(name string) (*Device, error) {
	at, err := d.roots.sys().resolve(d.inside(name))
	if err != nil {
		return nil, err
	}
	return d.roots.Device(at)
}

// Property returns a property as the kernel gives it: of the event, or of the uevent file with DEVPATH and SUBSYSTEM,
// which that lacks.
func (d *Device) Property(key string) (string, bool) {
	if d.event != nil {
		return d.event.Get(key)
	}
	switch key {
	case "DEVPATH":
		return d.devpath, true
	case "SUBSYSTEM":
		return d.Subsystem(), d.Subsystem() != ""
	}
	for _, p := range d.readUevent() {
		if p.Key == key {
			return p.Value, true
		}
	}
	return "", false
}

func (d *Device) value(key string) string {
	v, _ := d.Property(key)
	return v
}

// Properties ranges over the kernel's properties: the event's, or DEVPATH, SUBSYSTEM and those of the uevent file.
func (d *Device) Properties() iter.Seq2[string, string] {
	if d.event != nil {
		return d.event.All()
	}
	return func(yield func(string, string) bool) {
		if !yield("DEVPATH", d.devpath) {
			return
		}
		if s := d.Subsystem(); s != "" && !yield("SUBSYSTEM", s) {
			return
		}
		for _, p := range d.readUevent() {
			if !yield(p.Key, p.Value) {
				return
			}
		}
	}
}

// readUevent reads the uevent file, once. A device without one has no properties.
func (d *Device) readUevent() []Pair {
	if d.have&haveUevent != 0 {
		return d.uevent
	}
	d.have |= haveUevent
	text, err := d.roots.sys().read(d.devpath + "/uevent")
	if err != nil {
		return nil
	}
	d.uevent = make([]Pair, 0, strings.Count(text, "\n")+1)
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok && key != "" {
			d.uevent = append(d.uevent, Pair{key, value})
		}
	}
	return d.uevent
}

// MakeEvent makes an event of the device's present state, as the kernel would send it when action were written to the
// uevent file; extra are further properties, each "KEY=value". It reads sysfs and sends nothing.
func (d *Device) MakeEvent(action string, extra ...string) (*Event, error) {
	if action == "" || strings.ContainsAny(action, "@\x00=") {
		return nil, fmt.Errorf("action %q of %s: %w", action, d.devpath, fs.ErrInvalid)
	}
	properties := make([]string, 0, 8)
	for key, value := range d.Properties() {
		switch key {
		case "ACTION", "DEVPATH", "SUBSYSTEM":
		default:
			properties = append(properties, key+"="+value)
		}
	}
	return ParseEvent(AppendMessage(nil, action, d.devpath, d.Subsystem(), append(properties, extra...)...))
}

// Record reads what /run/udev/data holds of the device. The error satisfies errors.Is(err, fs.ErrNotExist) when it
// holds nothing. The first answer is kept, until a [Store] writes another; it must not be changed.
func (d *Device) Record() (*Record, error) {
	if d.have&haveRecord == 0 {
		d.have |= haveRecord
		if d.ID() == "" {
			d.record, d.recordErr = nil, fmt.Errorf("record of %s: %w", d.devpath, fs.ErrNotExist)
		} else {
			d.record, d.recordErr = d.roots.Record(d.ID())
		}
	}
	return d.record, d.recordErr
}

// IsGone says whether err means that a device, or a part of it, vanished while it was handled. Of several errors joined
// each must mean that.
func IsGone(err error) bool {
	switch err := err.(type) {
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(err.Unwrap(), func(part error) bool { return !IsGone(part) })
	case interface{ Unwrap() error }:
		return IsGone(err.Unwrap())
	}
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}

// rename gives the device the place in sysfs that it has under another name.
func (d *Device) rename(name string) {
	d.devpath = d.devpath[:strings.LastIndexByte(d.devpath, '/')+1] + strings.ReplaceAll(name, "/", "!")
	d.sysname = ""
}
