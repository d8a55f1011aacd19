package coldplug

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hubs ranges over the hubs whose driver is bound and that are awake: a hub that sleeps has no work to do, and is left
// to sleep.
func (t *table) hubs(yield func(name, dir string)) {
	for _, intf := range t.list("bus/usb/drivers/hub") {
		name, rest, ok := strings.Cut(intf, ":")
		if !ok || rest == "" {
			continue
		}
		if bus, isRoot := strings.CutSuffix(name, "-0"); isRoot {
			name = "usb" + bus
		}
		dir := filepath.Join(t.sys, "bus/usb/devices", name)
		if attr(dir, "power/runtime_status") == "suspended" {
			continue
		}
		yield(name, dir)
	}
}

// child returns the sysfs name of the device on port of the hub: usb1 has 1-3, and 1-3 has 1-3.2.
func child(hub string, port int) string {
	if bus, ok := strings.CutPrefix(hub, "usb"); ok {
		return bus + "-" + strconv.Itoa(port)
	}
	return hub + "." + strconv.Itoa(port)
}

func usbPorts(t *table) {
	t.hubs(func(name, dir string) {
		ports := number(dir, "maxchild")
		var status func(port int) (uint16, error)
		var done func()
		for port := 1; port <= ports; port++ {
			if t.exists(t.sys, "bus/usb/devices", child(name, port)) {
				continue
			}
			if portOff(dir, name, port) {
				continue
			}
			if status == nil {
				status, done = t.portStatus(dir)
			}
			s, err := status(port)
			if err != nil {
				break // the hub went, or there is no node yet: its event is on its way
			}
			if s&portConnection != 0 {
				t.tell(dir, "port %d reports a connection and has no device yet", port)
			}
		}
		if done != nil {
			done()
		}
	})
}

// portOff tells whether the administrator switched the port off.
func portOff(dir, name string, port int) bool {
	intf := name + ":1.0"
	if bus, ok := strings.CutPrefix(name, "usb"); ok {
		intf = bus + "-0:1.0"
	}
	return attr(dir, filepath.Join(intf, fmt.Sprintf("%s-port%d", name, port), "disable")) == "1"
}

const portConnection = 1 // include/uapi/linux/usb/ch11.h, USB_PORT_STAT_CONNECTION

// portStatus opens the hub's node and returns a function that asks the hub for a port's status.
// Kernel: drivers/usb/core/devio.c, USBDEVFS_CONTROL; drivers/usb/core/hub.c, get_port_status.
func (t *table) portStatus(dir string) (status func(port int) (uint16, error), done func()) {
	bus, dev := number(dir, "busnum"), number(dir, "devnum")
	node := fmt.Sprintf("%s/bus/usb/%03d/%03d", t.dev, bus, dev)
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return func(int) (uint16, error) { return 0, err }, func() {}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		unix.Close(fd)
		return func(int) (uint16, error) { return 0, errors.New("no usbfs node") }, func() {}
	}
	return func(port int) (uint16, error) { return usbPortStatus(fd, port) }, func() { unix.Close(fd) }
}

// usbControl is struct usbdevfs_ctrltransfer.
type usbControl struct {
	requestType, request uint8
	value, index, length uint16
	timeout              uint32 // ms
	data                 unsafe.Pointer
}

func usbPortStatus(fd, port int) (uint16, error) {
	const getStatus, classOtherIn = 0, 0xa3
	buf := new([4]byte)
	ctl := usbControl{requestType: classOtherIn, request: getStatus, index: uint16(port), length: 4, timeout: 1000, data: unsafe.Pointer(buf)}
	// _IOWR('U', 0, struct usbdevfs_ctrltransfer)
	req := uintptr(3<<30 | unsafe.Sizeof(ctl)<<16 | 'U'<<8)
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(unsafe.Pointer(&ctl)))
		switch errno {
		case 0:
			return binary.LittleEndian.Uint16(buf[:]), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// usbHubs finds hubs that are being brought up: nothing below them keeps them awake, they may sleep, and do not.
func usbHubs(t *table) {
	t.hubs(func(name, dir string) {
		if attr(dir, "power/control") != "auto" || attr(dir, "power/runtime_status") != "active" {
			return
		}
		age := number(dir, "power/connected_duration")
		if age < 0 || age > int(t.kind.patience/time.Millisecond) {
			return
		}
		for port := 1; port <= number(dir, "maxchild"); port++ {
			if t.exists(t.sys, "bus/usb/devices", child(name, port)) {
				return
			}
		}
		t.tell(dir, "its ports are being powered and debounced")
	})
}

func usbDevices(t *table) {
	for _, name := range t.list("bus/usb/devices") {
		if strings.Contains(name, ":") {
			continue
		}
		dir := filepath.Join(t.sys, "bus/usb/devices", name)
		if attr(dir, "authorized") == "0" {
			continue
		}
		age := number(dir, "power/connected_duration")
		if age < 0 || age > int(t.kind.patience/time.Millisecond) {
			continue // whatever it lacks now, it will lack
		}
		if driver(dir) == "" {
			t.tell(dir, "has no configuration yet")
			continue
		}
		want, err := strconv.Atoi(attr(dir, "bNumInterfaces"))
		if err != nil {
			t.tell(dir, "has no configuration yet")
			continue
		}
		have := 0
		for _, e := range t.list(filepath.Join("bus/usb/devices", name)) {
			if strings.Contains(e, ":") && strings.Contains(e, ".") {
				have++
			}
		}
		if have < want {
			t.tell(dir, "has %d of its %d interfaces", have, want)
		}
	}
}

// usbStorage finds SCSI hosts of usb-storage and uas that have not made a target.
func usbStorage(t *table) {
	delay := 1
	if s := attr(t.sys, "module/usb_storage/parameters/delay_use"); s != "" {
		if ms, ok := strings.CutSuffix(s, "ms"); ok { // since 6.11
			n, _ := strconv.Atoi(ms)
			delay = (n + 999) / 1000
		} else if n, err := strconv.Atoi(s); err == nil {
			delay = n
		}
	}
	t.patience = time.Duration(delay)*time.Second + 20*time.Second
	for _, drv := range [...]string{"usb-storage", "uas"} {
		for _, intf := range t.list("bus/usb/drivers/" + drv) {
			if !strings.Contains(intf, ":") {
				continue
			}
			dir := filepath.Join(t.sys, "bus/usb/drivers", drv, intf)
			if targets, _ := filepath.Glob(dir + "/host*/target*"); len(targets) == 0 {
				t.tell(dir, "its disk is not there yet (delay_use is %d s)", delay)
			}
		}
	}
}
